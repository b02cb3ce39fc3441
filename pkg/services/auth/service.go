package auth

import (
	"context"
	"crypto/hmac"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// tenants keeps a tenant from going while a key for it is made, in the same transaction. A missing one is CodeNotFound.
type tenants interface {
	Hold(ctx context.Context, tx *database.Tx, name string) error
}

// Options are what a Service needs; all but Logger must be given.
type Options struct {
	DB      *database.DB // tenants
	Pepper  []byte       // see LoadPepper; the same on every replica
	Tenants tenants
	Logger  *slog.Logger
	Now     func() time.Time
}

// Service keeps the keys. It is safe for concurrent use.
type Service struct {
	db      *database.DB
	pepper  []byte
	tenants tenants
	log     *slog.Logger
	now     func() time.Time
	codec   codec
	roles   Graph
	cache   *cache

	mu   sync.Mutex
	used map[string]time.Time // last uses that are not written yet, by key id
}

// New makes the service.
func New(o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		db: o.DB, pepper: slices.Clone(o.Pepper), tenants: o.Tenants, log: o.Logger, now: o.Now,
		codec: newCodec(), roles: NewGraph(builtin()), cache: newCache(), used: map[string]time.Time{},
	}
}

// Roles gives the graph of roles.
func (s *Service) Roles() Graph { return s.roles }

// refused is the one answer to a token of the right form that opens nothing, whatever the reason.
func refused() error {
	return omni.Errorf(omni.CodeUnauthorized, "the API key is not valid: it is unknown, or was revoked or rotated").
		WithHint("ask for a new key: omnictl auth keys create")
}

// Authenticate gives the holder of a token; one that is malformed, unknown, expired or revoked is CodeUnauthorized.
func (s *Service) Authenticate(ctx context.Context, text string) (omni.Identity, error) {
	t, err := s.codec.parse(text)
	if err != nil {
		return omni.Identity{}, err
	}
	now := s.now()
	e, err := s.lookup(ctx, t.id, now)
	if err != nil {
		return omni.Identity{}, err
	}
	// Hash and compare also when nothing was found, so that the time does not tell.
	hash, valid := t.hash(s.pepper), false
	for _, known := range e.secrets {
		alive := known.expires.IsZero() || now.Before(known.expires)
		if hmac.Equal(known.hash, hash) && alive {
			valid = true
		}
	}
	if !valid || !e.found || e.key.RevokedAt != nil {
		return omni.Identity{}, refused()
	}
	if e.key.ExpiresAt != nil && !now.Before(*e.key.ExpiresAt) {
		return omni.Identity{}, omni.Errorf(omni.CodeUnauthorized, "the API key %s expired at %s", e.key.Name, e.key.ExpiresAt.Format(time.RFC3339)).
			WithHint("ask for a new key: omnictl auth keys create")
	}
	s.touch(e.key, now)
	return e.id, nil
}

// lookup reads a key through the cache.
func (s *Service) lookup(ctx context.Context, id string, now time.Time) (entry, error) {
	e, ok, generation := s.cache.get(id, now)
	if ok {
		return e, nil
	}
	e = entry{read: now}
	err := s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		if e.key, e.found, err = selectKey(ctx, tx, "*", id); err == nil && e.found {
			e.secrets, err = selectSecrets(ctx, tx, id)
		}
		return err
	})
	if err != nil {
		return entry{}, err
	}
	if e.found {
		e.id = e.key.identity(s.roles)
	}
	s.cache.put(id, e, generation)
	return e, nil
}

// owner is whose keys the request may touch: its own tenant's, or "*".
func owner(ctx context.Context) string {
	if own := omni.RequestFrom(ctx).Identity.Tenant; own != "" {
		return own
	}
	return "*"
}

func noKey(id string) error {
	return omni.Errorf(omni.CodeNotFound, "there is no API key %s", shown(id)).WithHint("omnictl auth keys list shows those that exist")
}

// Create makes a key. The request's key must hold every permission that the new one will have, and a key that is bound to a tenant
// makes keys for that tenant only.
func (s *Service) Create(ctx context.Context, spec KeySpec) (NewKey, error) {
	by := omni.RequestFrom(ctx).Identity
	if by.Tenant != "" && spec.Tenant == "" {
		spec.Tenant = by.Tenant
	}
	if by.Tenant != "" && spec.Tenant != by.Tenant {
		return NewKey{}, omni.Errorf(omni.CodeNotFound, "there is no tenant %s", shown(spec.Tenant)).WithHint("leave tenant out: this key acts for its own tenant")
	}
	var made NewKey
	err := s.write(ctx, func(ctx context.Context, tx *database.Tx) (err error) {
		if err := spec.check(s.roles, tx.Now()); err != nil {
			return err
		}
		if err := mayGive(by, (Key{Tenant: spec.Tenant, Roles: spec.Roles}).grants(s.roles)); err != nil {
			return err
		}
		if spec.Tenant != "" {
			if err := s.tenants.Hold(ctx, tx, spec.Tenant); err != nil {
				return err
			}
		}
		if n, err := countKeys(ctx, tx, spec.Tenant); err != nil || n >= maxKeys {
			return orError(err, omni.Errorf(omni.CodeLimited, "there are %d keys already, which is the most", n).WithHint("revoke those that nobody uses"))
		}
		if _, found, err := selectNamed(ctx, tx, spec.Tenant, spec.Name); err != nil || found {
			return orError(err, omni.Errorf(omni.CodeConflict, "there is an API key %s already", spec.Name).WithHint("rotate it, revoke it, or choose another name"))
		}
		made, err = s.create(ctx, tx, spec)
		return err
	})
	return made, err
}

// orError gives err if there is one, and otherwise the other.
func orError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func (s *Service) create(ctx context.Context, tx *database.Tx, spec KeySpec) (NewKey, error) {
	roles := slices.Compact(slices.Sorted(slices.Values(spec.Roles)))
	k := Key{
		ID: omni.NewID("key", tx.Now()), Name: spec.Name, Tenant: spec.Tenant, Roles: roles,
		CreatedBy: omni.RequestFrom(ctx).Identity.Actor, CreatedAt: tx.Now(), ExpiresAt: optional(database.Time(spec.ExpiresAt.UTC().Truncate(time.Microsecond))),
	}
	if err := insertKey(ctx, tx, k); err != nil {
		return NewKey{}, err
	}
	text, err := s.addSecret(ctx, tx, k.ID)
	if err != nil {
		return NewKey{}, err
	}
	return NewKey{Key: k, Token: text}, s.audit(ctx, tx, "key.create", nil, &k, nil)
}

func (s *Service) addSecret(ctx context.Context, tx *database.Tx, id string) (text string, err error) {
	t, text := s.codec.make(id)
	return text, insertSecret(ctx, tx, id, t.hash(s.pepper))
}

// Rotate gives a key a new secret; the earlier ones stay valid for overlap (0 ends them at once, at most MaxOverlap).
func (s *Service) Rotate(ctx context.Context, id string, overlap time.Duration) (NewKey, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return NewKey{}, omni.Errorf(omni.CodeInvalid, "overlap: must be from 0s to %s", omni.Duration(MaxOverlap)).
			WithFields(omni.FieldError{Path: "overlap", Message: "must be from 0s to 720h"})
	}
	var made NewKey
	err := s.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		k, err := s.locked(ctx, tx, id)
		if err != nil {
			return err
		}
		// Who rotates a key can use it: it must not open more than they may open anyway.
		if err := mayGive(omni.RequestFrom(ctx).Identity, k.grants(s.roles)); err != nil {
			return err
		}
		made, err = s.rotate(ctx, tx, k, overlap)
		return err
	})
	return made, err
}

func (s *Service) rotate(ctx context.Context, tx *database.Tx, k Key, overlap time.Duration) (NewKey, error) {
	if err := expireSecrets(ctx, tx, k.ID, tx.Now().Add(overlap)); err != nil {
		return NewKey{}, err
	}
	text, err := s.addSecret(ctx, tx, k.ID)
	if err != nil {
		return NewKey{}, err
	}
	return NewKey{Key: k, Token: text}, s.audit(ctx, tx, "key.rotate", &k, &k, map[string]string{"overlap": omni.Duration(overlap).String()})
}

// locked reads a key that the request may see and that is not revoked, for a change of it.
func (s *Service) locked(ctx context.Context, tx *database.Tx, id string) (Key, error) {
	k, found, err := lockKey(ctx, tx, owner(ctx), id)
	switch {
	case err != nil:
		return Key{}, err
	case !found:
		return Key{}, noKey(id)
	case k.RevokedAt != nil:
		return Key{}, omni.Errorf(omni.CodeConflict, "the API key %s is revoked", k.Name).WithHint("create another one")
	}
	return k, nil
}

// Revoke ends a key for good: at once here, within a second on other replicas. The last key that may do everything is kept.
func (s *Service) Revoke(ctx context.Context, id string) error {
	return s.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		k, err := s.locked(ctx, tx, id)
		if err != nil {
			return err
		}
		if k.Tenant == "" && slices.Contains(k.Roles, PlatformAdmin) {
			if err := s.notLast(ctx, tx, k); err != nil {
				return err
			}
		}
		return s.revoke(ctx, tx, k)
	})
}

func (s *Service) revoke(ctx context.Context, tx *database.Tx, k Key) error {
	if err := revokeKey(ctx, tx, k.ID); err != nil {
		return err
	}
	return s.audit(ctx, tx, "key.revoke", &k, nil, nil)
}

// notLast refuses to lock everybody out.
func (s *Service) notLast(ctx context.Context, tx *database.Tx, k Key) error {
	alive, err := lockAlive(ctx, tx, "")
	if err != nil {
		return err
	}
	for _, other := range alive {
		if other.ID != k.ID && slices.Contains(other.Roles, PlatformAdmin) {
			return nil
		}
	}
	return omni.Errorf(omni.CodeRefused, "the API key %s is the last one that may do everything", k.Name).
		WithHint("create another platform-admin key first, or rotate this one")
}

// RevokeTenant revokes every key of a tenant within tx, on the tenants database.
func (s *Service) RevokeTenant(ctx context.Context, tx *database.Tx, tenant string) error {
	if tenant == "" {
		return omni.Errorf(omni.CodeInvalid, "tenant: must not be empty")
	}
	tx.AfterCommit(s.cache.forget)
	keys, err := selectKeys(ctx, tx, tenant, false, "", maxKeys)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := s.revoke(ctx, tx, k); err != nil {
			return err
		}
	}
	return nil
}

// List gives the keys of a tenant, or all that the request may see for "*", by age; revoked ones only if asked for.
func (s *Service) List(ctx context.Context, tenant string, revoked bool, page omni.PageRequest) (out omni.Page[Key], err error) {
	if own := owner(ctx); own != "*" {
		tenant = own
	}
	err = s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		out.Items, err = selectKeys(ctx, tx, tenant, revoked, page.After, page.Size()+1)
		return err
	})
	if len(out.Items) > page.Size() {
		out.Items = out.Items[:page.Size()]
		out.Next = out.Items[page.Size()-1].ID
	}
	return out, err
}

// WhoAmI tells the request's key what it is, and where its permissions come from.
func (s *Service) WhoAmI(ctx context.Context) (WhoAmI, error) {
	id := omni.RequestFrom(ctx).Identity
	out := WhoAmI{Actor: id.Actor, Tenant: id.Tenant, Roles: []string{}, Permissions: []Grant{}}
	if id.KeyID == "" {
		for _, p := range id.Permissions {
			out.Permissions = append(out.Permissions, Grant{Permission: p, From: id.Actor})
		}
		return out, nil
	}
	err := s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		k, found, err := selectKey(ctx, tx, "*", id.KeyID)
		if err == nil && !found {
			err = refused()
		}
		out.Key = &k
		return err
	})
	if err != nil {
		return WhoAmI{}, err
	}
	out.Roles, out.Permissions = out.Key.Roles, out.Key.grants(s.roles)
	return out, nil
}

// write runs fn in a transaction, after which nothing that was cached counts.
func (s *Service) write(ctx context.Context, fn func(context.Context, *database.Tx) error) error {
	return s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		tx.AfterCommit(s.cache.forget)
		return fn(ctx, tx)
	})
}

func (s *Service) audit(ctx context.Context, tx *database.Tx, action string, before, after *Key, detail any) error {
	rec := omni.AuditRecord{Action: action, Detail: detail}
	for _, k := range []*Key{before, after} {
		if k != nil {
			rec.Tenant, rec.Object = k.Tenant, "key/"+k.ID
		}
	}
	if before != nil {
		rec.Before = events.Digest(*before)
	}
	if after != nil {
		rec.After = events.Digest(*after)
	}
	if err := events.Audit(ctx, tx, rec); err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	return nil
}
