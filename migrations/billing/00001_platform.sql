-- +goose Up

-- Events that this database's transactions have caused, until every consumer has handled them (package events).
create table outbox (
    seq        {{bigserial}},
    id         text not null,
    type       text not null,
    subject    text not null,
    tenant     text not null,
    event      text not null, -- the whole CloudEvent, as JSON
    at         timestamptz not null,
    relayed_at timestamptz
);

create unique index outbox_id on outbox (id);
create index outbox_pending on outbox (seq) where relayed_at is null;
create index outbox_relayed on outbox (relayed_at) where relayed_at is not null;

-- Events that consumers on this database have handled, so that none is handled twice.
create table inbox (
    consumer text not null,
    event_id text not null,
    at       timestamptz not null,
    primary key (consumer, event_id)
);

create index inbox_event on inbox (event_id);
