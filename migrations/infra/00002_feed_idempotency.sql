-- +goose Up

-- What server-sent events replay. Rows are committed in the order of seq.
create table event_feed (
    seq    {{bigserial}},
    type   text not null,
    tenant text not null,
    event  text not null,
    at     timestamptz not null
);

create index event_feed_tenant on event_feed (tenant, seq);
create index event_feed_at on event_feed (at);

-- Answers to requests that carried an Idempotency-Key (package rest).
create table idempotency_keys (
    scope        text not null,
    key          text not null,
    request_hash text not null,
    status       bigint not null default 0,
    content_type text not null default '',
    headers      text not null default '',
    body         bytea,
    state        text not null check (state in ('running', 'done')),
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    primary key (scope, key)
);

create index idempotency_keys_expiry on idempotency_keys (expires_at);
