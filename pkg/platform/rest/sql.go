package rest

// The statements on infra.idempotency_keys. A row whose expires_at has passed counts as absent, whatever its state: for an answer
// that is the end of its retention, for a running one it is when whoever ran it must have ended or crashed.
const (
	sqlClaim = `
insert into idempotency_keys (scope, key, request_hash, status, content_type, headers, body, state, created_at, expires_at)
values ($1, $2, $3, 0, '', '', null, 'running', $4, $5)
on conflict (scope, key) do update
set request_hash = excluded.request_hash, status = 0, content_type = '', headers = '', body = null, state = 'running',
    created_at = excluded.created_at, expires_at = excluded.expires_at
where idempotency_keys.expires_at <= excluded.created_at`

	sqlStored = `
select request_hash, status, content_type, headers, body, state from idempotency_keys where scope = $1 and key = $2`

	sqlFinish = `
update idempotency_keys set status = $4, content_type = $5, headers = $6, body = $7, state = 'done', expires_at = $8
where scope = $1 and key = $2 and created_at = $3 and state = 'running'`

	sqlRelease = `
delete from idempotency_keys where scope = $1 and key = $2 and created_at = $3 and state = 'running'`

	sqlSweep = `
delete from idempotency_keys where (scope, key) in
    (select scope, key from idempotency_keys where expires_at <= $1 order by expires_at limit $2)`
)
