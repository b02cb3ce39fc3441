package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

const keyColumns = `id, tenant, name, roles, created_by, created_at, expires_at, last_used_at, revoked_at`

// secret is what the store holds of one.
type secret struct {
	hash    []byte
	expires time.Time // zero is with the key
}

func scanKey(scan func(dest ...any) error) (Key, error) {
	var k Key
	var roles string
	var created, expires, used, revoked database.Time
	if err := scan(&k.ID, &k.Tenant, &k.Name, &roles, &k.CreatedBy, &created, &expires, &used, &revoked); err != nil {
		return Key{}, err
	}
	k.CreatedAt, k.ExpiresAt, k.LastUsedAt, k.RevokedAt = created.Std(), optional(expires), optional(used), optional(revoked)
	if err := json.Unmarshal([]byte(roles), &k.Roles); err != nil {
		return Key{}, fmt.Errorf("roles of key %s: %w", k.ID, err)
	}
	return k, nil
}

func optional(t database.Time) *time.Time {
	if t.Std().IsZero() {
		return nil
	}
	std := t.Std()
	return &std
}

// selectKey reads a key; tenant "*" takes any.
func selectKey(ctx context.Context, tx *database.Tx, tenant, id string) (k Key, found bool, err error) {
	return oneKey(ctx, tx, `select `+keyColumns+` from api_keys where id = $1 and ($2 = '*' or tenant = $2)`, id, tenant)
}

// lockKey is selectKey, and keeps others from changing the key until the transaction ends.
func lockKey(ctx context.Context, tx *database.Tx, tenant, id string) (k Key, found bool, err error) {
	query := `select ` + keyColumns + ` from api_keys where id = $1 and ($2 = '*' or tenant = $2)`
	if tx.Kind() == database.Postgres {
		query += ` for update`
	}
	return oneKey(ctx, tx, query, id, tenant)
}

// selectNamed reads the key of that name that is not revoked.
func selectNamed(ctx context.Context, tx *database.Tx, tenant, name string) (k Key, found bool, err error) {
	return oneKey(ctx, tx, `select `+keyColumns+` from api_keys where tenant = $1 and name = $2 and revoked_at is null`, tenant, name)
}

func oneKey(ctx context.Context, tx *database.Tx, query string, args ...any) (k Key, found bool, err error) {
	err = tx.Query(ctx, query, args, func(scan func(dest ...any) error) error {
		found = true
		k, err = scanKey(scan)
		return err
	})
	return k, found, err
}

func selectKeys(ctx context.Context, tx *database.Tx, tenant string, revoked bool, after string, limit int) ([]Key, error) {
	keys := []Key{}
	err := tx.Query(ctx, `select `+keyColumns+` from api_keys
		where ($1 = '*' or tenant = $1) and ($2 or revoked_at is null) and id > $3 order by id limit $4`, []any{tenant, revoked, after, limit},
		func(scan func(dest ...any) error) error {
			k, err := scanKey(scan)
			keys = append(keys, k)
			return err
		})
	return keys, err
}

// lockAlive reads the keys of a tenant ("" is the platform) that are neither revoked nor expired, and keeps others from changing them.
func lockAlive(ctx context.Context, tx *database.Tx, tenant string) ([]Key, error) {
	query := `select ` + keyColumns + ` from api_keys
		where tenant = $1 and revoked_at is null and (expires_at is null or expires_at > $2) order by id`
	if tx.Kind() == database.Postgres {
		query += ` for update`
	}
	var keys []Key
	err := tx.Query(ctx, query, []any{tenant, database.Time(tx.Now())}, func(scan func(dest ...any) error) error {
		k, err := scanKey(scan)
		keys = append(keys, k)
		return err
	})
	return keys, err
}

func countKeys(ctx context.Context, tx *database.Tx, tenant string) (n int, err error) {
	err = tx.QueryRow(ctx, `select count(*) from api_keys where tenant = $1 and revoked_at is null`, []any{tenant}, &n)
	return n, err
}

func insertKey(ctx context.Context, tx *database.Tx, k Key) error {
	roles, err := json.Marshal(k.Roles)
	if err != nil {
		return err
	}
	var expires time.Time
	if k.ExpiresAt != nil {
		expires = *k.ExpiresAt
	}
	_, err = tx.Exec(ctx, `insert into api_keys (id, tenant, name, roles, created_by, created_at, expires_at) values ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Tenant, k.Name, string(roles), k.CreatedBy, database.Time(k.CreatedAt), database.Time(expires))
	return err
}

func revokeKey(ctx context.Context, tx *database.Tx, id string) error {
	if _, err := tx.Exec(ctx, `update api_keys set revoked_at = $2 where id = $1`, id, database.Time(tx.Now())); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `delete from api_key_secrets where key_id = $1`, id)
	return err
}

func touchKey(ctx context.Context, tx *database.Tx, id string, at time.Time) error {
	_, err := tx.Exec(ctx, `update api_keys set last_used_at = $2 where id = $1 and (last_used_at is null or last_used_at < $2)`, id, database.Time(at))
	return err
}

func selectSecrets(ctx context.Context, tx *database.Tx, id string) ([]secret, error) {
	var out []secret
	err := tx.Query(ctx, `select hash, expires_at from api_key_secrets where key_id = $1 order by created_at desc limit $2`, []any{id, maxSecrets},
		func(scan func(dest ...any) error) error {
			var s secret
			var expires database.Time
			err := scan(&s.hash, &expires)
			s.expires = expires.Std()
			out = append(out, s)
			return err
		})
	return out, err
}

func insertSecret(ctx context.Context, tx *database.Tx, id string, hash []byte) error {
	_, err := tx.Exec(ctx, `insert into api_key_secrets (key_id, hash, created_at) values ($1, $2, $3)`, id, hash, database.Time(tx.Now()))
	return err
}

// expireSecrets lets every secret of a key end at a moment, unless it ends earlier, and drops those that have ended and those
// that are too many, with room for one more.
func expireSecrets(ctx context.Context, tx *database.Tx, id string, at time.Time) error {
	if _, err := tx.Exec(ctx, `update api_key_secrets set expires_at = $2 where key_id = $1 and (expires_at is null or expires_at > $2)`,
		id, database.Time(at)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `delete from api_key_secrets where key_id = $1 and expires_at <= $2`, id, database.Time(tx.Now())); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `delete from api_key_secrets where key_id = $1 and hash not in (
		select hash from api_key_secrets where key_id = $1 order by created_at desc limit $2)`, id, maxSecrets-1)
	return err
}

// claimPepper stores the fingerprint if there is none, and gives the one that is stored.
func claimPepper(ctx context.Context, tx *database.Tx, print string) (stored string, err error) {
	if _, err := tx.Exec(ctx, `insert into auth_pepper (id, fingerprint) values (1, $1) on conflict (id) do nothing`, print); err != nil {
		return "", err
	}
	err = tx.QueryRow(ctx, `select fingerprint from auth_pepper where id = 1`, nil, &stored)
	return stored, err
}
