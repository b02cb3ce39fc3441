-- +goose Up

create table failover_policies (
    tenant     text        not null,
    name       text        not null,
    labels     text        not null,
    spec       text        not null,
    version    bigint      not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant, name)
);

-- One policy a tenant: with two, which one decides would be a guess.
create unique index failover_policies_one on failover_policies (tenant);

create table failover_runs (
    tenant          text        not null,
    id              text        not null,
    kind            text        not null,
    source          text        not null,
    target          text        not null,
    mode            text        not null,
    cause           text        not null check (cause in ('manual', 'policy')),
    reason          text        not null,
    plan_hash       text        not null,
    plan            text        not null,
    evidence        text        not null,
    initiated_by    text        not null,
    initiated_at    timestamptz not null,
    status          text        not null,
    finished_at     timestamptz,
    dns_switched_ms bigint,
    error           text        not null,
    version         bigint      not null,
    -- It was aborted because what it was for had passed before anybody approved it: no cooldown follows.
    withdrawn       boolean     not null default false,
    primary key (tenant, id)
);

create unique index failover_runs_id on failover_runs (id);
create index failover_runs_recent on failover_runs (cause, initiated_at);
create index failover_runs_alive on failover_runs (tenant) where finished_at is null;
create index failover_runs_ended on failover_runs (tenant, finished_at);

-- When a placement that a run could not fence was last spoken to, and by the leader of which epoch: that one waits its lease out from then
-- on. The clock of another may differ, so that it waits the whole lease anew.
create table failover_leases (
    tenant       text        not null,
    run          text        not null,
    step         text        not null,
    contacted_at timestamptz not null,
    epoch        bigint      not null,
    primary key (tenant, run, step)
);

-- How long steps of a kind took, the last ones, in milliseconds as a JSON list.
create table failover_durations (
    driver  text not null,
    type    text not null,
    action  text not null,
    samples text not null,
    primary key (driver, type, action)
);

create table failover_verdicts (
    region  text        not null primary key,
    health  text        not null,
    since   timestamptz not null,
    verdict text        not null
);

create table failover_freeze (
    id     bigint      not null primary key check (id = 1),
    frozen boolean     not null,
    reason text        not null,
    by_who text        not null,
    since  timestamptz not null
);

create table failover_blocked (
    tenant text        not null,
    source text        not null,
    kind   text        not null,
    cause  text        not null,
    reason text        not null,
    since  timestamptz not null,
    primary key (tenant, source)
);
