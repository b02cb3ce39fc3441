package monitor

// The observer's own rows of an earlier life say nothing of now.
const deleteOwn = `delete from probe_states where observer = $1`

const upsertState = `insert into probe_states (region, zone, probe, observer, status, since, error, latency_us, updated_at)
	values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
	on conflict (region, zone, probe, observer) do update set
		status = excluded.status, since = excluded.since, error = excluded.error, latency_us = excluded.latency_us, updated_at = excluded.updated_at`

const deleteState = `delete from probe_states where region = $1 and zone = $2 and probe = $3 and observer = $4`

// A probe that is no more is nobody's.
const (
	deleteProbe = `delete from probe_states where region = $1 and zone = $2 and probe = $3`
	deleteBeats = `delete from probe_beats where region = $1 and zone = $2 and probe = $3`
)

// maxOthers bounds how many rows of other observers one list looks at.
const maxOthers = 100_000

const (
	selectOthers = `select region, zone, probe, observer, status, since, error, latency_us from probe_states
	where observer <> $1 order by region, zone, probe, observer limit $2`
	selectOthersOf = `select region, zone, probe, observer, status, since, error, latency_us from probe_states
	where observer <> $1 and region = $3 order by region, zone, probe, observer limit $2`
)

const incrementBeats = `insert into probe_beats (region, zone, probe, beats) values ($1, $2, $3, 1)
	on conflict (region, zone, probe) do update set beats = probe_beats.beats + 1
	returning beats`

const selectBeats = `select region, zone, probe, beats from probe_beats limit $1`
