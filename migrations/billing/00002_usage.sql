-- +goose Up

-- One row for each role that a placement took, until the next one. Moments are microseconds since 1970 (UTC), as bigint,
-- because usage is summed from them. until_us is null while the role lasts. The rows of a placement never overlap, and
-- leave no gap between its first and its last.
create table usage_changes (
    tenant    text   not null,
    resource  text   not null,
    region    text   not null,
    at_us     bigint not null,
    seq       bigint not null, -- tells changes of one moment apart, in order of arrival
    until_us  bigint,
    event_id  text   not null,
    type      text   not null,
    role      text   not null, -- '' when the placement was removed
    run       text   not null, -- the run that gave the role, '' for none
    until_run text   not null, -- the run that ended it
    primary key (tenant, resource, region, at_us, seq)
);

create unique index usage_changes_event on usage_changes (tenant, event_id);
create index usage_changes_run on usage_changes (tenant, run);
create index usage_changes_until_run on usage_changes (tenant, until_run);
create index usage_changes_at on usage_changes (tenant, at_us);

-- One row a placement, which those who book a change of it update first: changes of one placement wait for each other.
create table usage_placements (
    tenant   text   not null,
    resource text   not null,
    region   text   not null,
    changes  bigint not null,
    primary key (tenant, resource, region)
);
