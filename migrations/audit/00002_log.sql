-- +goose Up

-- One row a log: a tenant's, or the platform's own under the empty tenant. note is the last signed checkpoint; it
-- covers exactly size entries, since both are written by every append. Older notes are not kept: with one of them a log
-- could be cut back without a trace.
create table audit_logs (
    tenant text   not null primary key,
    size   bigint not null,
    note   text   not null
);

-- record is the leaf: the bytes of the record's canonical JSON. The columns between are copies to search by; verifying
-- compares them. seal is an HMAC over tenant, idx and the leaf's hash.
create table audit_entries (
    tenant    text        not null,
    idx       bigint      not null,
    record_id text        not null,
    at        timestamptz not null,
    actor     text        not null,
    action    text        not null,
    object    text        not null,
    record    bytea       not null,
    seal      bytea       not null,
    primary key (tenant, idx)
);

create index audit_entries_action on audit_entries (tenant, action, idx);
create index audit_entries_object on audit_entries (tenant, object, idx);
create index audit_entries_at on audit_entries (tenant, at);

-- The hashes of every complete subtree, in the order of golang.org/x/mod/sumdb/tlog (StoredHashIndex).
create table audit_hashes (
    tenant text   not null,
    idx    bigint not null,
    hash   bytea  not null,
    primary key (tenant, idx)
);
