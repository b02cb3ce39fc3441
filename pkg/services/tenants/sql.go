package tenants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

const columns = `name, labels, display_name, billing_currency, deleting, version, created_at, updated_at`

// scanTenant reads a row of columns.
func scanTenant(scan func(dest ...any) error) (Tenant, error) {
	var t Tenant
	var labels string
	var created, updated database.Time
	if err := scan(&t.Name, &labels, &t.DisplayName, &t.BillingCurrency, &t.Deleting, &t.Version, &created, &updated); err != nil {
		return Tenant{}, err
	}
	t.CreatedAt, t.UpdatedAt = created.Std(), updated.Std()
	if err := json.Unmarshal([]byte(labels), &t.Labels); err != nil {
		return Tenant{}, fmt.Errorf("labels of tenant %s: %w", t.Name, err)
	}
	if len(t.Labels) == 0 {
		t.Labels = nil
	}
	return t, nil
}

func selectTenant(ctx context.Context, tx *database.Tx, name string) (t Tenant, found bool, err error) {
	return selectOne(ctx, tx, `select `+columns+` from tenants where name = $1`, name)
}

// lockTenant reads a tenant and keeps others from changing it until the transaction ends. SQLite has one writer anyway.
func lockTenant(ctx context.Context, tx *database.Tx, name string) (t Tenant, found bool, err error) {
	query := `select ` + columns + ` from tenants where name = $1`
	if tx.Kind() == database.Postgres {
		query += ` for update`
	}
	return selectOne(ctx, tx, query, name)
}

// shareTenant reads a tenant and keeps others from deleting it until the transaction ends.
func shareTenant(ctx context.Context, tx *database.Tx, name string) (t Tenant, found bool, err error) {
	query := `select ` + columns + ` from tenants where name = $1`
	if tx.Kind() == database.Postgres {
		query += ` for share`
	}
	return selectOne(ctx, tx, query, name)
}

func selectOne(ctx context.Context, tx *database.Tx, query, name string) (t Tenant, found bool, err error) {
	err = tx.Query(ctx, query, []any{name}, func(scan func(dest ...any) error) error {
		found = true
		t, err = scanTenant(scan)
		return err
	})
	return t, found, err
}

func selectPage(ctx context.Context, tx *database.Tx, after string, limit int) ([]Tenant, error) {
	items := []Tenant{}
	err := tx.Query(ctx, `select `+columns+` from tenants where name > $1 order by name limit $2`, []any{after, limit},
		func(scan func(dest ...any) error) error {
			t, err := scanTenant(scan)
			items = append(items, t)
			return err
		})
	return items, err
}

func insertTenant(ctx context.Context, tx *database.Tx, t Tenant) error {
	labels, err := encodeLabels(t)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `insert into tenants (`+columns+`) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		t.Name, labels, t.DisplayName, t.BillingCurrency, t.Deleting, t.Version, database.Time(t.CreatedAt), database.Time(t.UpdatedAt))
	return err
}

func updateTenant(ctx context.Context, tx *database.Tx, t Tenant) error {
	labels, err := encodeLabels(t)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `update tenants set labels = $2, display_name = $3, billing_currency = $4, deleting = $5, version = $6, updated_at = $7
		where name = $1`, t.Name, labels, t.DisplayName, t.BillingCurrency, t.Deleting, t.Version, database.Time(t.UpdatedAt))
	return err
}

func deleteTenant(ctx context.Context, tx *database.Tx, name string) error {
	_, err := tx.Exec(ctx, `delete from tenants where name = $1`, name)
	return err
}

func encodeLabels(t Tenant) (string, error) {
	if len(t.Labels) == 0 {
		return "{}", nil
	}
	raw, err := json.Marshal(t.Labels)
	return string(raw), err
}

// asError gives the *omni.Error in err's chain; for another error it makes one.
func asError(err error) *omni.Error {
	if e, ok := errors.AsType[*omni.Error](err); ok {
		return e
	}
	return omni.Errorf(omni.CodeInternal, "%w", err)
}
