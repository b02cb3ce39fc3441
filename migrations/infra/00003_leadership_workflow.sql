-- +goose Up
create table leadership (
  id integer not null primary key check (id = 1),
  epoch bigint not null,
  holder text not null,
  taken_at timestamptz not null
);

create table workflow_runs (
  tenant text not null,
  id text not null,
  kind text not null,
  key text not null,
  status text not null check (status in ('awaiting_approval', 'running', 'paused', 'succeeded', 'failed', 'aborted', 'rolled_back')),
  phase text not null check (phase in ('', 'aborting', 'rolling_back')),
  on_failure text not null check (on_failure in ('pause', 'rollback', 'continue')),
  parallel bigint not null,
  error text not null,
  input text not null,
  request_id text not null,
  traceparent text not null,
  created_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz,
  version bigint not null,
  primary key (tenant, id)
);

create unique index workflow_runs_id on workflow_runs (id);

-- One alive run a key: this is what makes one of two conflicting triggers lose.
create unique index workflow_runs_alive on workflow_runs (key) where finished_at is null;

create table workflow_steps (
  tenant text not null,
  run text not null,
  id text not null,
  position bigint not null,
  lane text not null,
  action text not null,
  level bigint not null,
  seq bigint not null,
  input text not null,
  predicted_us bigint not null,
  max_attempts bigint not null,
  timeout_us bigint not null,
  status text not null check (status in ('pending', 'running', 'succeeded', 'failed', 'skipped', 'rolled_back')),
  undo text not null check (undo in ('', 'running', 'failed', 'done')),
  attempts bigint not null,
  starts bigint not null,
  undo_attempts bigint not null,
  undo_starts bigint not null,
  ended bigint not null,
  not_before timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  message text not null,
  error text not null,
  result text not null,
  primary key (tenant, run, id),
  foreign key (tenant, run) references workflow_runs (tenant, id) on delete cascade
);

-- What a new leader must look at first: steps that an earlier one left in the middle.
create index workflow_steps_running on workflow_steps (run) where status = 'running' or undo = 'running';
