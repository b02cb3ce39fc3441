package workflow

import (
	"fmt"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

const runColumns = `tenant, id, kind, key, status, phase, on_failure, parallel, error, input, request_id, traceparent,
  created_at, started_at, finished_at, version`

// Scope: $1 is the transaction's scope; "*" sees every tenant.
const getRunSQL = `select ` + runColumns + ` from workflow_runs where id = $2 and ($1 = '*' or tenant = $1)`

const listRunsSQL = `select ` + runColumns + ` from workflow_runs
where ($1 = '*' or tenant = $1) and ($2 = '' or tenant = $2) and ($3 = '' or kind = $3) and ($4 = '' or key = $4)
  and ($5 = '' or status = $5) and ($6 = 0 or finished_at is null) and ($7 = '' or id < $7)
order by id desc limit $8`

const insertRunSQL = `insert into workflow_runs (` + runColumns + `)
values ($1, $2, $3, $4, $5, '', $6, $7, '', $8, $9, $10, $11, $12, null, 1)
on conflict (key) where finished_at is null do nothing`

const aliveRunSQL = `select id, status, tenant from workflow_runs where key = $1 and finished_at is null`

// controlSQL locks what Approve and its like change; the engine locks it the same way before it starts a step.
const controlSQL = `select tenant, status, phase from workflow_runs where id = $2 and ($1 = '*' or tenant = $1)`

const setStatusSQL = `update workflow_runs set status = $3, phase = $4, error = case when $5 = 1 then '' else error end, started_at = coalesce(started_at, $6),
  finished_at = $7, version = version + 1 where tenant = $1 and id = $2`

const stepsRunningSQL = `select count(*) from workflow_steps where tenant = $1 and run = $2 and (status = 'running' or undo = 'running')`

const resetStepsSQL = `update workflow_steps set status = 'pending', attempts = 0, not_before = null, finished_at = null, ended = 0, error = ''
where tenant = $1 and run = $2 and status = 'failed' and undo = ''`

const resetUndoSQL = `update workflow_steps set undo = '', undo_attempts = 0, not_before = null
where tenant = $1 and run = $2 and undo = 'failed'`

// The waits of retries are cut short by Resume: a human has seen to the cause.
const resetWaitsSQL = `update workflow_steps set not_before = null where tenant = $1 and run = $2 and not_before is not null`

const stepColumns = `id, lane, action, level, seq, input, predicted_us, max_attempts, timeout_us, status, undo, attempts, starts,
  undo_attempts, undo_starts, ended, not_before, started_at, finished_at, message, error, result`

const getStepsSQL = `select ` + stepColumns + ` from workflow_steps where tenant = $1 and run = $2 order by position`

const stepStatusSQL = `select status from workflow_steps where tenant = $1 and run = $2 and id = $3`

const insertStepHead = `insert into workflow_steps (tenant, run, position, ` + stepColumns + `) values `

// insertStepsSQL inserts n steps: $1 tenant, $2 run, then stepArgs each.
func insertStepsSQL(n int) string {
	var b strings.Builder
	b.WriteString(insertStepHead)
	at := 3
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("($1, $2, ")
		for range stepArgs {
			fmt.Fprintf(&b, "$%d, ", at)
			at++
		}
		b.WriteString("'pending', '', 0, 0, 0, 0, 0, null, null, null, '', '', '')")
	}
	return b.String()
}

// stepArgs is how many values of a new step vary: position and the columns up to timeout_us.
const stepArgs = 10

const aliveSQL = `select id, status, version from workflow_runs where finished_at is null order by id limit $1`

// lockRunsSQL locks the rows of n runs in one order, so that two who lock several cannot wait for each other.
func lockRunsSQL(n int, lock bool) string {
	query := `select id, status, phase, version from workflow_runs where id in (` + placeholders(1, n) + `) order by id`
	if lock {
		query += ` for no key update`
	}
	return query
}

// startStepsSQL begins n steps of one run that have the same counts. It changes them again when its first commit went through
// unnoticed, so it can be repeated.
//
// Both of the statements for many steps are written twice: PostgreSQL, before it has statistics of a new run, takes the run to be
// one row and goes through all of it for each statement (25 ms of 4000 steps). Made to look up one step after the other, by the whole
// key (lateral, offset 0), it needs 1 ms.
func startStepsSQL(kind database.Kind, n int) string {
	const (
		set   = `update workflow_steps set status = 'running', attempts = $3, starts = $4, not_before = null, started_at = coalesce(started_at, $5) `
		match = `tenant = $1 and run = $2 and status in ('pending', 'running') and starts >= $4 - 1 and starts <= $4 and id `
	)
	if kind == database.SQLite {
		return set + `where ` + match + `in (` + placeholders(6, n) + `)`
	}
	return set + `where ctid = any (array(
  select found.at from (values (` + strings.ReplaceAll(placeholders(6, n), ", ", "), (") + `)) as v (step)
  cross join lateral (select ctid as at from workflow_steps where ` + match + ` = v.step offset 0) as found))`
}

const startUndoSQL = `update workflow_steps set undo = 'running', undo_attempts = $4, undo_starts = $5, not_before = null
where tenant = $1 and run = $2 and id = $3 and undo in ('', 'running') and status <> 'rolled_back' and undo_starts >= $5 - 1 and undo_starts <= $5`

const finishSQL = `update workflow_steps set status = $4, undo = $5, not_before = $6, finished_at = $7, ended = $8, message = $9, error = $10, result = $11
where tenant = $1 and run = $2 and id = $3 and starts = $12 and undo_starts = $13 and status = $14 and undo = $15`

// finishStepsSQL writes n checkpoints of one run's steps that have come to their end ($3: now), finishColumns values each. The casts of
// the first row tell PostgreSQL the types of all.
func finishStepsSQL(kind database.Kind, n int) string {
	var b strings.Builder
	b.WriteString(`with v (step, new_status, ended, message, error, result, starts, was) as (values `)
	at := 4
	for i := range n {
		form := ", ($%d, $%d, $%d, $%d, $%d, $%d, $%d, $%d)"
		if i == 0 {
			form = "(cast($%d as text), cast($%d as text), cast($%d as bigint), cast($%d as text), cast($%d as text), " +
				"cast($%d as text), cast($%d as bigint), cast($%d as text))"
		}
		fmt.Fprintf(&b, form, at, at+1, at+2, at+3, at+4, at+5, at+6, at+7)
		at += finishColumns
	}
	const (
		match = `s.tenant = $1 and s.run = $2 and s.id = v.step and s.starts = v.starts and s.status = v.was and s.undo = ''`
		set   = `update workflow_steps as s set status = v.new_status, not_before = null, finished_at = $3, ended = v.ended, message = v.message,
  error = v.error, result = v.result from `
	)
	if kind == database.SQLite {
		return b.String() + `) ` + set + `v where ` + match
	}
	return b.String() + `), found as materialized (
  select v.*, one.at from v cross join lateral (select s.ctid as at from workflow_steps as s where ` + match + ` offset 0) as one)
` + set + `found as v where s.ctid = v.at`
}

const finishColumns = 8

const stepStateSQL = `select status, undo, starts, undo_starts, ended from workflow_steps where tenant = $1 and run = $2 and id = $3`

const settleSQL = `update workflow_runs set status = $3, phase = $4, error = $5, finished_at = $6, version = version + 1
where tenant = $1 and id = $2 and version = $7`

const runStateSQL = `select status, phase, version from workflow_runs where tenant = $1 and id = $2`

func placeholders(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", from+i)
	}
	return b.String()
}
