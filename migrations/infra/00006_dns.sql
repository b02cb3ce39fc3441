-- +goose Up

-- One row. change counts the changes of all zones; a changed zone takes it as its serial, so that the serial of a domain
-- grows even when its zone is deleted and made again. Every writer of zones updates it first, which makes them wait for
-- each other and lets replicas see that something is new.
create table dns_state (
    id     bigint not null primary key check (id = 1),
    change bigint not null
);
insert into dns_state (id, change) values (1, 0);

-- The domains that are taken, and by which zone is not told here: it holds no tenant, so that a tenant's own transaction
-- can see that a domain is taken, and nothing more.
create table dns_domains (
    domain text not null primary key
);

create table dns_zones (
    tenant     text        not null,
    name       text        not null,
    domain     text        not null unique, -- lower case, with the final dot
    labels     text        not null,
    spec       text        not null,        -- the manifest's spec in its canonical form, as JSON
    change     bigint      not null,        -- of dns_state, when it changed last; its low 32 bits are the serial
    version    bigint      not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant, name)
);

create index dns_zones_change on dns_zones (change);

create table dns_record_sets (
    tenant      text        not null,
    zone        text        not null,
    name        text        not null, -- with the final dot
    type        text        not null,
    ttl_seconds bigint      not null,
    vals        text        not null, -- JSON array of text, sorted
    resource    text        not null, -- the resource whose active placement it follows, '' for none
    epoch       bigint      not null, -- of the leader that switched it last; 0 before any run
    run         text        not null,
    updated_at  timestamptz not null,
    primary key (tenant, zone, name, type),
    foreign key (tenant, zone) references dns_zones (tenant, name) on delete cascade
);

create index dns_record_sets_resource on dns_record_sets (tenant, resource);
