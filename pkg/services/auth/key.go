package auth

import (
	"slices"
	"time"
	"unicode"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of keys.
const (
	MaxOverlap = 30 * 24 * time.Hour // of a rotation
	maxRoles   = 16
	maxSecrets = 8 // of one key that may be valid at once
	maxKeys    = 1000
)

// DefaultOverlap is how long the earlier secrets stay valid after a rotation that does not say.
const DefaultOverlap = omni.Duration(24 * time.Hour)

// Key is an API key without its secrets.
type Key struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Tenant     string     `json:"tenant,omitempty"` // "" is a key of the platform
	Roles      []string   `json:"roles"`
	CreatedBy  string     `json:"created_by"` // the actor
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`   // never, when left out
	LastUsedAt *time.Time `json:"last_used_at,omitempty"` // to the minute
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
}

// NewKey is a key with its token, which is shown this once.
type NewKey struct {
	Key
	Token string `json:"token"`
}

// KeySpec asks for a key.
type KeySpec struct {
	Name      string
	Tenant    string // "" is the platform
	Roles     []string
	ExpiresAt time.Time // zero is never
}

// WhoAmI is what a key's holder may know of it.
type WhoAmI struct {
	Actor       string   `json:"actor"`
	Key         *Key     `json:"key,omitempty"` // nothing for omnid's own parts
	Tenant      string   `json:"tenant,omitempty"`
	Permissions []Grant  `json:"permissions"`
	Roles       []string `json:"roles"`
}

// Decision answers whether a key may do something.
type Decision struct {
	Allowed    bool   `json:"allowed"`
	Permission string `json:"permission"`
	Tenant     string `json:"tenant,omitempty"`
	Reason     string `json:"reason"`
}

// check finds every field of the spec that is wrong by itself.
func (s KeySpec) check(g Graph, now time.Time) error {
	var fields []omni.FieldError
	wrong := func(path, message string) { fields = append(fields, omni.FieldError{Path: path, Message: message}) }
	if omni.CheckName("name", s.Name) != nil {
		wrong("name", "must be 1 to 63 of a–z, 0–9 and '-', with no '-' at either end")
	}
	if s.Tenant != "" && omni.CheckName("tenant", s.Tenant) != nil {
		wrong("tenant", "is not a name")
	}
	if len(s.Roles) == 0 || len(s.Roles) > maxRoles {
		wrong("roles", "must be 1 to 16 names of roles")
	} else {
		for _, name := range s.Roles {
			if _, ok := g.Role(name); !ok {
				wrong("roles", shown(name)+" is not a role; there are viewer, operator, billing-admin, tenant-admin and platform-admin")
			}
		}
		if s.Tenant != "" && slices.Contains(s.Roles, PlatformAdmin) {
			wrong("roles", "platform-admin is only for keys of the platform")
		}
	}
	if !s.ExpiresAt.IsZero() && !s.ExpiresAt.After(now) {
		wrong("expires_at", "must be in the future")
	}
	if len(fields) == 0 {
		return nil
	}
	return omni.Errorf(omni.CodeInvalid, "the key is not valid: %s %s", fields[0].Path, fields[0].Message).WithFields(fields...).
		WithHint("omnictl auth roles list shows the roles")
}

// identity gives who acts with k at a moment when it is valid.
func (k Key) identity(g Graph) omni.Identity {
	id := omni.Identity{Actor: "key:" + k.Name, KeyID: k.ID, Tenant: k.Tenant}
	for _, grant := range k.grants(g) {
		id.Permissions = append(id.Permissions, grant.Permission)
	}
	return id
}

// grants gives the permissions of k: those of its roles, less the platform's when it is bound to a tenant.
func (k Key) grants(g Graph) []Grant {
	grants := g.Grants(k.Roles...)
	if k.Tenant != "" {
		grants = slices.DeleteFunc(grants, func(x Grant) bool { return slices.Contains(platformOnly(), x.Permission) })
	}
	return grants
}

// mayGive says whether the holder of by may give permissions to others.
func mayGive(by omni.Identity, grants []Grant) error {
	for _, g := range grants {
		if !Allows(by.Permissions, g.Permission) {
			return omni.Errorf(omni.CodeForbidden, "you cannot give the permission %s (of the role %s), since you do not hold it", g.Permission, g.From).
				WithHint("choose a lesser role, or ask someone who holds it")
		}
	}
	return nil
}

// shown keeps hostile input out of messages.
func shown(s string) string {
	out := []rune{'"'}
	for _, r := range s {
		if len(out) > omni.MaxName {
			out = append(out, '…')
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		out = append(out, r)
	}
	return string(append(out, '"'))
}
