-- +goose Up

create table regions (
    name          text        not null primary key,
    labels        text        not null,
    spec          text        not null,
    cordoned      boolean     not null,
    cordon_reason text        not null,
    version       bigint      not null,
    created_at    timestamptz not null,
    updated_at    timestamptz not null
);

create table resources (
    tenant     text        not null,
    name       text        not null,
    type       text        not null,
    labels     text        not null,
    serving    text        not null references regions (name),
    version    bigint      not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant, name)
);

create table placements (
    tenant   text        not null,
    resource text        not null,
    region   text        not null references regions (name),
    role     text        not null check (role in ('active', 'standby', 'fenced', 'stopped')),
    driver   text        not null,
    address  text        not null,
    config   text        not null,
    lease_us bigint      not null,
    epoch    bigint      not null,
    run      text        not null,
    since    timestamptz not null,
    primary key (tenant, resource, region),
    foreign key (tenant, resource) references resources (tenant, name) on delete cascade
);

-- Never two active placements of one resource, whatever the code above believes.
create unique index placements_active on placements (tenant, resource) where role = 'active';
create index placements_region on placements (region, role);

create table dependencies (
    tenant   text not null,
    resource text not null,
    needs    text not null,
    primary key (tenant, resource, needs),
    foreign key (tenant, resource) references resources (tenant, name) on delete cascade
);
create index dependencies_needs on dependencies (tenant, needs);
