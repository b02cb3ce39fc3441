package dns

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// nextChange counts a change of any zone. Its row makes all writers of zones wait for each other until they commit, so that
// changes are committed in their order.
func nextChange(ctx context.Context, tx *database.Tx) (int64, error) {
	var change int64
	err := tx.QueryRow(ctx, `update dns_state set change = change + 1 where id = 1 returning change`, nil, &change)
	return change, err
}

// lockZones is nextChange for a writer that does not know yet whether it will change what is answered. It comes before any
// row of a zone is written, so that two writers never wait for each other in a circle.
func lockZones(ctx context.Context, tx *database.Tx) error {
	_, err := tx.Exec(ctx, `update dns_state set change = change where id = 1`)
	return err
}

func currentChange(ctx context.Context, tx *database.Tx) (int64, error) {
	var change int64
	err := tx.QueryRow(ctx, `select change from dns_state where id = 1`, nil, &change)
	return change, err
}

// overlapping lists the taken domains that are domain, above it or below it, except those of tenant's own zones.
func overlapping(ctx context.Context, tx *database.Tx, tenant, domain string) (bool, error) {
	above := append(ancestors(domain), domain)
	args := []any{tenant, domain, len(domain) + 1}
	marks := make([]string, len(above))
	for i, name := range above {
		args = append(args, name)
		marks[i] = fmt.Sprintf("$%d", len(args))
	}
	var n int64
	err := tx.QueryRow(ctx, `select count(*) from dns_domains d
		where (d.domain in (`+strings.Join(marks, ", ")+`)
				or (length(d.domain) > $3 and substr(d.domain, length(d.domain) - $3 + 1) = '.' || $2))
			and not exists (select 1 from dns_zones z where z.tenant = $1 and z.domain = d.domain)`, args, &n)
	return n > 0, err
}

func takeDomain(ctx context.Context, tx *database.Tx, domain string) error {
	_, err := tx.Exec(ctx, `insert into dns_domains (domain) values ($1)`, domain)
	return err
}

func freeDomain(ctx context.Context, tx *database.Tx, domain string) error {
	_, err := tx.Exec(ctx, `delete from dns_domains where domain = $1`, domain)
	return err
}

const zoneColumns = `tenant, name, labels, spec, change, version, created_at, updated_at`

func scanZone(scan func(...any) error) (Zone, error) {
	var z Zone
	var labels, spec string
	var created, updated database.Time
	if err := scan(&z.Tenant, &z.Name, &labels, &spec, &z.change, &z.Version, &created, &updated); err != nil {
		return Zone{}, err
	}
	if err := json.Unmarshal([]byte(labels), &z.Labels); err != nil {
		return Zone{}, fmt.Errorf("the labels of zone %s: %w", z.Name, err)
	}
	if err := json.Unmarshal([]byte(spec), &z.Spec); err != nil {
		return Zone{}, fmt.Errorf("the spec of zone %s: %w", z.Name, err)
	}
	z.Serial, z.CreatedAt, z.UpdatedAt = serialOf(z.change), created.Std(), updated.Std()
	return z, nil
}

func queryZones(ctx context.Context, tx *database.Tx, rest string, args ...any) ([]Zone, error) {
	var zones []Zone
	err := tx.Query(ctx, `select `+zoneColumns+` from dns_zones `+rest, args, func(scan func(...any) error) error {
		z, err := scanZone(scan)
		zones = append(zones, z)
		return err
	})
	return zones, err
}

func getZone(ctx context.Context, tx *database.Tx, tenant, name string) (Zone, error) {
	zones, err := queryZones(ctx, tx, `where tenant = $1 and name = $2`, tenant, name)
	if err == nil && len(zones) == 0 {
		err = omni.Errorf(omni.CodeNotFound, "zone %s does not exist", name).WithHint("omnictl get zone lists the zones of a tenant")
	}
	if err != nil {
		return Zone{}, err
	}
	return zones[0], nil
}

func countZones(ctx context.Context, tx *database.Tx, tenant string) (int64, error) {
	var n int64
	err := tx.QueryRow(ctx, `select count(*) from dns_zones where tenant = $1`, []any{tenant}, &n)
	return n, err
}

// writeZone inserts or updates a zone. It keeps the time at which it was created.
func writeZone(ctx context.Context, tx *database.Tx, z Zone) error {
	labels, err := json.Marshal(z.Labels)
	if err != nil {
		return err
	}
	spec, err := json.Marshal(z.Spec)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `insert into dns_zones (tenant, name, domain, labels, spec, change, version, created_at, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
		on conflict (tenant, name) do update set domain = excluded.domain, labels = excluded.labels, spec = excluded.spec,
			change = excluded.change, version = excluded.version, updated_at = excluded.updated_at`,
		z.Tenant, z.Name, z.Spec.Domain, string(labels), string(spec), z.change, z.Version, database.Time(tx.Now()))
	return err
}

func touchZone(ctx context.Context, tx *database.Tx, tenant, name string, change int64) error {
	_, err := tx.Exec(ctx, `update dns_zones set change = $3, version = version + 1, updated_at = $4 where tenant = $1 and name = $2`,
		tenant, name, change, database.Time(tx.Now()))
	return err
}

func removeZone(ctx context.Context, tx *database.Tx, tenant, name string) error {
	if _, err := tx.Exec(ctx, `delete from dns_record_sets where tenant = $1 and zone = $2`, tenant, name); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `delete from dns_zones where tenant = $1 and name = $2`, tenant, name)
	return err
}

const recordColumns = `zone, name, type, ttl_seconds, vals, resource, epoch, run, updated_at`

func queryRecords(ctx context.Context, tx *database.Tx, rest string, args ...any) ([]RecordSet, error) {
	var records []RecordSet
	err := tx.Query(ctx, `select `+recordColumns+` from dns_record_sets `+rest, args, func(scan func(...any) error) error {
		var r RecordSet
		var ttl int64
		var values string
		var updated database.Time
		if err := scan(&r.Zone, &r.Name, &r.Type, &ttl, &values, &r.Resource, &r.Epoch, &r.Run, &updated); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(values), &r.Values); err != nil {
			return fmt.Errorf("the values of %s %s: %w", r.Name, r.Type, err)
		}
		r.TTL, r.UpdatedAt = omni.Duration(time.Duration(ttl)*time.Second), updated.Std()
		records = append(records, r)
		return nil
	})
	return records, err
}

func zoneRecords(ctx context.Context, tx *database.Tx, tenant, zone string) ([]RecordSet, error) {
	return queryRecords(ctx, tx, `where tenant = $1 and zone = $2 order by name, type`, tenant, zone)
}

func insertRecord(ctx context.Context, tx *database.Tx, tenant string, r RecordSet) error {
	values, err := json.Marshal(r.Values)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `insert into dns_record_sets (tenant, zone, name, type, ttl_seconds, vals, resource, epoch, run, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		on conflict (tenant, zone, name, type) do update set ttl_seconds = excluded.ttl_seconds, vals = excluded.vals,
			resource = excluded.resource, epoch = excluded.epoch, run = excluded.run, updated_at = excluded.updated_at`,
		tenant, r.Zone, r.Name, r.Type, int64(r.TTL.Std()/time.Second), string(values), r.Resource, r.Epoch, r.Run, database.Time(r.UpdatedAt))
	return err
}

func deleteRecord(ctx context.Context, tx *database.Tx, tenant string, r RecordSet) error {
	_, err := tx.Exec(ctx, `delete from dns_record_sets where tenant = $1 and zone = $2 and name = $3 and type = $4`,
		tenant, r.Zone, r.Name, r.Type)
	return err
}

// switchRecord gives a record set new values under an epoch; false when a later leader was faster.
func switchRecord(ctx context.Context, tx *database.Tx, tenant string, r RecordSet) (bool, error) {
	values, err := json.Marshal(r.Values)
	if err != nil {
		return false, err
	}
	n, err := tx.Exec(ctx, `update dns_record_sets set vals = $5, epoch = $6, run = $7, updated_at = $8
		where tenant = $1 and zone = $2 and name = $3 and type = $4 and epoch <= $6`,
		tenant, r.Zone, r.Name, r.Type, string(values), r.Epoch, r.Run, database.Time(tx.Now()))
	return n == 1, err
}

// otherNames calls each for every record set of the tenant's other zones.
func otherNames(ctx context.Context, tx *database.Tx, tenant, zone string, aliasesOnly bool, each func(RecordSpec)) error {
	query := `select name, type, vals from dns_record_sets where tenant = $1 and zone <> $2`
	if aliasesOnly {
		query += ` and type = 'CNAME'`
	}
	return tx.Query(ctx, query, []any{tenant, zone}, func(scan func(...any) error) error {
		var r RecordSpec
		var values string
		if err := scan(&r.Name, &r.Type, &values); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(values), &r.Values); err != nil {
			return err
		}
		each(r)
		return nil
	})
}

// allDomains gives the domains of all zones.
func allDomains(ctx context.Context, tx *database.Tx) (map[string]bool, error) {
	domains := map[string]bool{}
	err := tx.Query(ctx, `select domain from dns_zones`, nil, func(scan func(...any) error) error {
		var domain string
		err := scan(&domain)
		domains[domain] = true
		return err
	})
	return domains, err
}
