package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
	"github.com/omnicloud/omnicloud/pkg/services/audit"
)

// maxViolations bounds what is told of one invariant.
const maxViolations = 20

// Verification is what Verify found.
type Verification struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// Check is one invariant, with what breaks it.
type Check struct {
	Name       string   `json:"name"`
	OK         bool     `json:"ok"`
	Violations []string `json:"violations,omitempty"`
}

// invariant is a query whose every row (one text) is a violation.
type invariant struct {
	name     string
	database database.Name
	query    string
}

// invariants are those that one query tells. The texts that they give are for people.
func invariants() []invariant {
	return []invariant{
		{
			"never two active placements of one resource", database.Infra,
			`select tenant || '/' || resource from placements where role = 'active' group by tenant, resource having count(*) > 1`,
		},
		{
			"a resource serves from one of its own placements", database.Infra,
			`select r.tenant || '/' || r.name || ' serves in ' || r.serving from resources r
			 where not exists (select 1 from placements p where p.tenant = r.tenant and p.resource = r.name and p.region = r.serving)`,
		},
		{
			"no row is of a later epoch than the last leader's", database.Infra,
			`select p.tenant || '/' || p.resource || ' in ' || p.region from placements p
			 where p.epoch > coalesce((select max(epoch) from leadership), 0)`,
		},
		{
			"at most one run of a key is alive", database.Infra,
			`select key from workflow_runs where finished_at is null group by key having count(*) > 1`,
		},
		{
			"a run and its workflow agree on its status", database.Infra,
			`select f.id || ' is ' || f.status || ', its workflow ' || w.status from failover_runs f
			 left join workflow_runs w on w.tenant = f.tenant and w.id = f.id where w.id is null or w.status <> f.status`,
		},
		{
			"a run that succeeded has no step that did not", database.Infra,
			`select s.run || '/' || s.id || ' is ' || s.status from workflow_steps s join workflow_runs r on r.tenant = s.tenant and r.id = s.run
			 where r.status = 'succeeded' and r.on_failure <> 'continue' and s.status not in ('succeeded', 'skipped')`,
		},
		{
			"no step is done before those that it waits for", database.Infra,
			`select d.run || ' has done level ' || d.level || ' before level ' || w.level
			 from (select tenant, run, max(level) as level from workflow_steps where status = 'succeeded' group by tenant, run) d
			 join (select tenant, run, min(level) as level from workflow_steps where status in ('pending', 'running') group by tenant, run) w
			 on w.tenant = d.tenant and w.run = d.run where w.level < d.level`,
		},
		{
			"every dependency is a resource of the same tenant", database.Infra,
			`select d.tenant || '/' || d.resource || ' needs ' || d.needs from dependencies d
			 where not exists (select 1 from resources r where r.tenant = d.tenant and r.name = d.needs)`,
		},
		{
			"a placement has at most one usage interval without an end", database.Billing,
			`select tenant || '/' || resource || ' in ' || region from usage_changes where until_us is null
			 group by tenant, resource, region having count(*) > 1`,
		},
		{
			"usage intervals end after they begin", database.Billing,
			`select tenant || '/' || resource || ' in ' || region from usage_changes where until_us < at_us`,
		},
		{
			"each audit record is in the log once", database.Audit,
			`select record_id from audit_entries group by record_id having count(*) > 1`,
		},
	}
}

// Verify checks the invariants of the stored data, whether omnid runs or not. It changes nothing.
func Verify(ctx context.Context, c Config) (v Verification, err error) {
	if err := storesExist(c); err != nil {
		return v, err
	}
	dbs := map[database.Name]*database.DB{}
	defer func() {
		for _, db := range dbs {
			err = errors.Join(err, db.Close())
		}
	}()
	for _, name := range database.Names() {
		// It only reads, so it keeps nobody waiting; on a busy machine it may think for longer than a leader's transactions may.
		db, err := openDatabase(ctx, c, name, postgres.Options{IdleInTransaction: time.Minute})
		if err != nil {
			return v, fmt.Errorf("database %s: %w", name, err)
		}
		dbs[name] = db
	}
	v.OK = true
	add := func(name string, violations []string) {
		v.OK = v.OK && len(violations) == 0
		v.Checks = append(v.Checks, Check{Name: name, OK: len(violations) == 0, Violations: violations})
	}
	for _, i := range invariants() {
		found, err := violations(ctx, dbs[i.database], i.query)
		if err != nil {
			return v, fmt.Errorf("%s: %w", i.name, err)
		}
		add(i.name, found)
	}
	answers, err := undeclaredAnswers(ctx, dbs[database.Infra])
	if err != nil {
		return v, err
	}
	add("DNS answers only declared addresses", answers)
	broken, err := brokenLogs(ctx, c, dbs[database.Audit])
	if err != nil {
		return v, err
	}
	add("the audit logs verify", broken)
	return v, nil
}

// storesExist keeps Verify from making what it was asked to look at.
func storesExist(c Config) error {
	for _, name := range database.Names() {
		if c.url(name) != "" {
			continue
		}
		path := filepath.Join(c.DataDir, string(name)+".db")
		if _, err := os.Stat(path); err != nil {
			return omni.Errorf(omni.CodeNotFound, "there is no %s to look into: %w", path, err).
				WithHint("name the data directory of the omnid that is meant with --data-dir")
		}
	}
	return nil
}

func violations(ctx context.Context, db *database.DB, query string) (found []string, err error) {
	err = db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		found = nil
		return tx.Query(ctx, query+fmt.Sprintf(" limit %d", maxViolations), nil, func(scan func(...any) error) error {
			var text string
			err := scan(&text)
			found = append(found, text)
			return err
		})
	})
	return found, err
}

// undeclaredAnswers gives the record sets that follow a resource and answer what is not the address of one of its placements.
func undeclaredAnswers(ctx context.Context, db *database.DB) (found []string, err error) {
	err = db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		declared := map[string]bool{}
		err := tx.Query(ctx, `select tenant, resource, address from placements`, nil, func(scan func(...any) error) error {
			var tenant, resource, address string
			err := scan(&tenant, &resource, &address)
			declared[tenant+"/"+resource+"/"+hostOf(address)] = true
			return err
		})
		if err != nil {
			return err
		}
		found = nil
		return tx.Query(ctx, `select tenant, resource, name, vals from dns_record_sets where resource <> ''`, nil, func(scan func(...any) error) error {
			var tenant, resource, name, values string
			if err := scan(&tenant, &resource, &name, &values); err != nil {
				return err
			}
			for _, value := range decodeTexts(values) {
				if !declared[tenant+"/"+resource+"/"+value] && len(found) < maxViolations {
					found = append(found, fmt.Sprintf("%s answers %s, which is no address of %s/%s", name, value, tenant, resource))
				}
			}
			return nil
		})
	})
	return found, err
}

func brokenLogs(ctx context.Context, c Config, db *database.DB) ([]string, error) {
	if _, err := os.Stat(filepath.Join(c.KeyDir, "audit.key")); err != nil {
		return nil, omni.Errorf(omni.CodeNotFound, "the key of the audit log is missing: %w", err).WithHint("name its directory with --key-dir")
	}
	service, err := audit.New(audit.Options{DB: db, DataDir: c.KeyDir})
	if err != nil {
		return nil, err
	}
	report, err := service.VerifyAll(ctx)
	if err != nil {
		return nil, err
	}
	var broken []string
	for _, log := range report.Logs {
		if log.FirstBad != nil {
			broken = append(broken, fmt.Sprintf("log of %q, entry %d: %s", log.Tenant, log.FirstBad.Index, log.FirstBad.Reason))
		}
	}
	return broken, nil
}
