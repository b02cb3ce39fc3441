-- +goose Up

create table tenants (
    name             text        not null primary key,
    labels           text        not null, -- JSON object of text
    display_name     text        not null,
    billing_currency text        not null, -- ISO 4217
    deleting         boolean     not null, -- a deletion with everything below it has begun; no new objects
    version          bigint      not null,
    created_at       timestamptz not null,
    updated_at       timestamptz not null
);
