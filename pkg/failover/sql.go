package failover

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

const (
	policyColumns  = `tenant, name, labels, spec, version, created_at, updated_at`
	selectPolicy   = `select ` + policyColumns + ` from failover_policies where tenant = $1 and name = $2`
	selectOwn      = `select ` + policyColumns + ` from failover_policies where tenant = $1 order by name limit 1`
	selectPolicies = `select ` + policyColumns + ` from failover_policies
		where ($1 = '' or tenant = $1) and (tenant > $2 or (tenant = $2 and name > $3)) order by tenant, name limit $4`
	insertPolicy = `insert into failover_policies (` + policyColumns + `) values ($1, $2, $3, $4, 1, $5, $5)`
	updatePolicy = `update failover_policies set labels = $3, spec = $4, version = version + 1, updated_at = $5 where tenant = $1 and name = $2`
	deletePolicy = `delete from failover_policies where tenant = $1 and name = $2`

	runColumns = `tenant, id, kind, source, target, mode, cause, reason, plan_hash, evidence, initiated_by, initiated_at,
		status, finished_at, dns_switched_ms, error, version`
	// runColumns without the evidence, for what is read over and over.
	runHeads = `tenant, id, kind, source, target, mode, cause, reason, plan_hash, '', initiated_by, initiated_at,
		status, finished_at, dns_switched_ms, error, version`
	insertRun = `insert into failover_runs (tenant, id, kind, source, target, mode, cause, reason, plan_hash, plan, evidence,
		initiated_by, initiated_at, status, error, version) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '', 1)`
	selectRun  = `select ` + runColumns + ` from failover_runs where id = $1 and ($2 = '' or tenant = $2)`
	selectRuns = `select ` + runColumns + ` from failover_runs
		where ($1 = '' or tenant = $1) and ($2 = '' or status = $2) and ($3 = '' or id < $3) order by id desc limit $4`
	updateRun   = `update failover_runs set status = $3, finished_at = $4, error = $5, version = $6 where tenant = $1 and id = $2`
	setSwitch   = `update failover_runs set dns_switched_ms = $3 where tenant = $1 and id = $2 and dns_switched_ms is null`
	aliveRun    = `select id from failover_runs where tenant = $1 and finished_at is null order by id desc limit 1`
	withdrawRun = `update failover_runs set withdrawn = true where tenant = $1 and id = $2`
	aliveRuns   = `select ` + runHeads + ` from failover_runs where finished_at is null order by id`
	// The last run of each tenant that has a policy: one look into the index a tenant.
	lastRuns = `select ` + runHeads + ` from failover_runs where id in (
		select (select r.id from failover_runs r where r.tenant = p.tenant and r.finished_at is not null and not r.withdrawn
			order by r.finished_at desc limit 1) from failover_policies p)`
	// What only waits for somebody to approve it moves nothing yet, and must not keep others from moving.
	countRuns = `select count(*) from failover_runs where cause = 'policy' and finished_at is null and status <> 'awaiting_approval'`
	countHour = `select count(*) from failover_runs where cause = 'policy' and initiated_at > $1 and status <> 'awaiting_approval'`

	upsertLease = `insert into failover_leases (tenant, run, step, contacted_at, epoch) values ($1, $2, $3, $4, $5)
		on conflict (tenant, run, step) do update set contacted_at = excluded.contacted_at, epoch = excluded.epoch`
	selectLease = `select contacted_at, epoch from failover_leases where tenant = $1 and run = $2 and step = $3`

	selectDurations = `select driver, type, action, samples from failover_durations order by driver, type, action limit 5000`
	selectDuration  = `select samples from failover_durations where driver = $1 and type = $2 and action = $3`
	upsertDuration  = `insert into failover_durations (driver, type, action, samples) values ($1, $2, $3, $4)
		on conflict (driver, type, action) do update set samples = excluded.samples`

	selectVerdicts = `select verdict, since from failover_verdicts order by region`
	selectVerdict  = `select verdict, since from failover_verdicts where region = $1`
	upsertVerdict  = `insert into failover_verdicts (region, health, since, verdict) values ($1, $2, $3, $4)
		on conflict (region) do update set health = excluded.health, since = excluded.since, verdict = excluded.verdict`

	selectFreeze = `select frozen, reason, by_who, since from failover_freeze where id = 1`
	upsertFreeze = `insert into failover_freeze (id, frozen, reason, by_who, since) values (1, $1, $2, $3, $4)
		on conflict (id) do update set frozen = excluded.frozen, reason = excluded.reason, by_who = excluded.by_who, since = excluded.since`

	selectBlocked = `select tenant, kind, source, cause, reason, since from failover_blocked order by tenant, source limit 1000`
	upsertBlocked = `insert into failover_blocked (tenant, source, kind, cause, reason, since) values ($1, $2, $3, $4, $5, $6)
		on conflict (tenant, source) do update set kind = excluded.kind, cause = excluded.cause, reason = excluded.reason, since = excluded.since`
	deleteBlocked = `delete from failover_blocked where tenant = $1 and source = $2`
)

// locked gives a select that keeps its row from changing until the transaction ends. SQLite has one writer at a time anyway.
func locked(tx *database.Tx, query string) string {
	if tx.Kind() == database.Postgres {
		return query + ` for update`
	}
	return query
}

func encode(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", omni.Errorf(omni.CodeInternal, "cannot store %T: %w", v, err)
	}
	return string(raw), nil
}

func decode(text, what string, into any) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return omni.Errorf(omni.CodeInternal, "what is stored of %s cannot be read", what).WithCause(err)
	}
	return nil
}

func scanPolicy(scan func(dest ...any) error) (Policy, error) {
	var (
		p                Policy
		labels, spec     string
		created, updated database.Time
	)
	if err := scan(&p.Tenant, &p.Name, &labels, &spec, &p.Version, &created, &updated); err != nil {
		return Policy{}, err
	}
	p.CreatedAt, p.UpdatedAt = created.Std(), updated.Std()
	if err := decode(labels, "policy "+p.Name, &p.Labels); err != nil {
		return Policy{}, err
	}
	return p, decode(spec, "policy "+p.Name, &p.Spec)
}

func queryPolicies(ctx context.Context, tx *database.Tx, query string, args ...any) ([]Policy, error) {
	var list []Policy
	err := tx.Query(ctx, query, args, func(scan func(...any) error) error {
		p, err := scanPolicy(scan)
		list = append(list, p)
		return err
	})
	return list, err
}

func scanRun(scan func(dest ...any) error) (Run, error) {
	var (
		r                   Run
		evidence            string
		initiated, finished database.Time
	)
	err := scan(&r.Tenant, &r.ID, &r.Kind, &r.From, &r.To, &r.Mode, &r.Trigger, &r.Reason, &r.PlanHash, &evidence, &r.InitiatedBy,
		&initiated, &r.Status, &finished, &r.DNSSwitchedMS, &r.Error, &r.Version)
	if err != nil {
		return Run{}, err
	}
	r.InitiatedAt, r.Steps = initiated.Std(), []Step{}
	if end := finished.Std(); !end.IsZero() {
		r.FinishedAt, r.DurationMS = &end, millis(end.Sub(r.InitiatedAt))
	}
	if evidence == "" {
		return r, nil
	}
	r.Evidence = &Verdict{}
	return r, decode(evidence, "the evidence of run "+r.ID, r.Evidence)
}

func queryRuns(ctx context.Context, tx *database.Tx, query string, args ...any) ([]Run, error) {
	list := []Run{}
	err := tx.Query(ctx, query, args, func(scan func(...any) error) error {
		r, err := scanRun(scan)
		list = append(list, r)
		return err
	})
	return list, err
}

// samplesKept is how many runs a prediction looks back on.
const samplesKept = 20

// readHistory gives the median of the durations that are kept, by class.
func readHistory(ctx context.Context, tx *database.Tx) (map[HistoryKey]time.Duration, error) {
	history := map[HistoryKey]time.Duration{}
	err := tx.Query(ctx, selectDurations, nil, func(scan func(...any) error) error {
		var key HistoryKey
		var text string
		if err := scan(&key.Driver, &key.Type, &key.Action, &text); err != nil {
			return err
		}
		var samples []int64
		if err := decode(text, "durations", &samples); err != nil || len(samples) == 0 {
			return err
		}
		slices.Sort(samples)
		history[key] = time.Duration(samples[len(samples)/2]) * time.Millisecond
		return nil
	})
	return history, err
}

func addDuration(ctx context.Context, tx *database.Tx, key HistoryKey, ms int64) error {
	var samples []int64
	err := tx.Query(ctx, locked(tx, selectDuration), []any{key.Driver, key.Type, string(key.Action)}, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		return decode(text, "durations", &samples)
	})
	if err != nil {
		return err
	}
	samples = append(samples, ms)
	samples = samples[max(0, len(samples)-samplesKept):]
	text, err := encode(samples)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, upsertDuration, key.Driver, key.Type, string(key.Action), text)
	return err
}

func queryVerdicts(ctx context.Context, tx *database.Tx, query string, args ...any) ([]Verdict, error) {
	var list []Verdict
	err := tx.Query(ctx, query, args, func(scan func(...any) error) error {
		var text string
		var since database.Time
		if err := scan(&text, &since); err != nil {
			return err
		}
		var v Verdict
		if err := decode(text, "a verdict", &v); err != nil {
			return err
		}
		v.Since = since.Std()
		list = append(list, v)
		return nil
	})
	return list, err
}
