-- +goose Up

-- tenant is '' for the platform's keys. Revoked keys stay, so that old audit records keep a name; their secrets do not.
create table api_keys (
    id           text        not null primary key,
    tenant       text        not null,
    name         text        not null,
    roles        text        not null, -- JSON array of text
    created_by   text        not null,
    created_at   timestamptz not null,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

create unique index api_keys_name on api_keys (tenant, name) where revoked_at is null;
create index api_keys_tenant on api_keys (tenant, id);

-- hash is HMAC-SHA-256 over the key's id and secret, under a pepper that is not stored here. A rotation adds a secret
-- and lets the earlier ones expire.
create table api_key_secrets (
    key_id     text        not null references api_keys (id) on delete cascade,
    hash       bytea       not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    primary key (key_id, hash)
);

-- One row: which pepper the hashes were made with, so that a replica with another one says so instead of refusing every
-- key.
create table auth_pepper (
    id          bigint not null primary key check (id = 1),
    fingerprint text   not null
);
