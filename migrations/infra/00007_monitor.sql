-- +goose Up

-- What each replica (observer) makes of each probe, written when it changes. Probes belong to regions, and so to no tenant.
create table probe_states (
    region     text        not null,
    zone       text        not null,
    probe      text        not null,
    observer   text        not null,
    status     text        not null check (status in ('up', 'down')),
    since      timestamptz not null,
    error      text        not null,
    latency_us bigint      not null,
    updated_at timestamptz not null,
    primary key (region, zone, probe, observer)
);

-- How many beats the replicas have taken for a heartbeat probe; a replica that finds more than it knew has another's beat to count.
create table probe_beats (
    region text   not null,
    zone   text   not null,
    probe  text   not null,
    beats  bigint not null,
    primary key (region, zone, probe)
);
