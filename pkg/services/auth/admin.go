package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// AdminName is the name of the key that the first start makes.
const AdminName = "admin"

// adminOverlap is how long the earlier tokens of "admin" stay valid when a start had to make another one: several replicas
// on one database, each with a data directory of its own, must not lock each other's operator out while they start.
const adminOverlap = 24 * time.Hour

// EnsureAdmin sees to it that whoever can read the file at path (mode 0600) can use the API:
//
//   - there is no key "admin" yet: it is made, with the role platform-admin, and its token is written there;
//   - the key is there and the file opens it: nothing is done;
//   - the key is there and the file is lost, or opens nothing: the token cannot be read back, so the key is rotated, the new token is
//     written, and the earlier ones end after a day;
//   - the key was revoked, and another platform-admin key is there: that was somebody's decision, and nothing is done.
//
// It first checks the pepper: with another one than the stored keys were made with it is CodeRefused.
func (s *Service) EnsureAdmin(ctx context.Context, path string) error {
	ctx = omni.WithRequest(ctx, omni.Request{Identity: omni.System("auth")})
	if err := s.checkPepper(ctx); err != nil {
		return err
	}
	works, err := s.tokenWorks(ctx, path)
	if err != nil || works {
		return err
	}
	err = s.adminToken(ctx, path)
	if omni.Is(err, omni.CodeConflict) { // another replica has made the key just now
		err = s.adminToken(ctx, path)
	}
	return err
}

// tokenWorks says whether the file holds a token that opens something.
func (s *Service) tokenWorks(ctx context.Context, path string) (bool, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || info.Size() > maxPepper:
		return false, omni.Errorf(omni.CodeRefused, "%s is not the file of a token", path).WithHint("move it away: a new one will be written")
	}
	if info.Mode().Perm()&0o077 != 0 {
		s.log.WarnContext(ctx, "the file of the admin token can be read by others; its mode is set to 0600", slog.String("path", path))
		if err := os.Chmod(path, 0o600); err != nil {
			return false, err
		}
	}
	text, err := readToken(path)
	if err != nil {
		return false, err
	}
	_, err = s.Authenticate(ctx, text)
	if omni.Is(err, omni.CodeUnauthorized) {
		return false, nil
	}
	return err == nil, err
}

func readToken(path string) (string, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator's own data directory
	return string(bytes.TrimSpace(raw)), err
}

// adminToken makes or rotates the key, unless it was revoked on purpose, and writes the file. The file is written before the commit,
// so that replicas which share it write it in the order of their commits. After a crash between the two it opens nothing, and the
// next start writes it again.
func (s *Service) adminToken(ctx context.Context, path string) error {
	return s.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		made, err := s.freshAdmin(ctx, tx, path)
		if err != nil || made.Token == "" {
			return err
		}
		if err := replace(path, []byte(made.Token+"\n")); err != nil {
			return fmt.Errorf("write the token of the key %s to %s: %w", AdminName, path, err)
		}
		return nil
	})
}

// freshAdmin gives the key a token; none when that is not to be done.
func (s *Service) freshAdmin(ctx context.Context, tx *database.Tx, path string) (NewKey, error) {
	k, found, err := selectNamed(ctx, tx, "", AdminName)
	if err != nil {
		return NewKey{}, err
	}
	spec := KeySpec{Name: AdminName, Roles: []string{PlatformAdmin}}
	if !found {
		if others, err := s.otherAdmins(ctx, tx); err != nil || others {
			return NewKey{}, err
		}
		return s.create(ctx, tx, spec)
	}
	if _, _, err := lockKey(ctx, tx, "", k.ID); err != nil {
		return NewKey{}, err
	}
	if done, err := s.opens(ctx, tx, k, path); err != nil || done { // another replica was faster
		return NewKey{}, err
	}
	if k.ExpiresAt == nil || tx.Now().Before(*k.ExpiresAt) {
		s.log.WarnContext(ctx, "the file of the admin token is missing or opens nothing: the key was rotated; earlier tokens end after a day")
		return s.rotate(ctx, tx, k, adminOverlap)
	}
	if err := s.revoke(ctx, tx, k); err != nil {
		return NewKey{}, err
	}
	return s.create(ctx, tx, spec)
}

// opens says whether the file holds a token of k, as the transaction sees it.
func (s *Service) opens(ctx context.Context, tx *database.Tx, k Key, path string) (bool, error) {
	text, err := readToken(path)
	if err != nil {
		return false, nil //nolint:nilerr // a file that cannot be read is written anew
	}
	t, err := s.codec.parse(text)
	if err != nil || t.id != k.ID {
		return false, nil //nolint:nilerr // nor does it open anything
	}
	secrets, err := selectSecrets(ctx, tx, k.ID)
	hash := t.hash(s.pepper)
	return slices.ContainsFunc(secrets, func(known secret) bool {
		return hmac.Equal(known.hash, hash) && (known.expires.IsZero() || tx.Now().Before(known.expires))
	}), err
}

func (s *Service) otherAdmins(ctx context.Context, tx *database.Tx) (bool, error) {
	err := s.notLast(ctx, tx, Key{})
	if omni.Is(err, omni.CodeRefused) {
		return false, nil
	}
	return err == nil, err
}

// checkPepper compares this replica's pepper with that of the stored keys.
func (s *Service) checkPepper(ctx context.Context) error {
	return s.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		stored, err := claimPepper(ctx, tx, fingerprint(s.pepper))
		if err != nil {
			return err
		}
		if stored != fingerprint(s.pepper) {
			return omni.Errorf(omni.CodeRefused, "the API keys of this database were made with another pepper, so none of them would work").
				WithHint("copy auth.pepper from the data directory of the replica that started first; if it is lost, every key is: " +
					"empty the tables auth_pepper, api_key_secrets and api_keys of the tenants database, and start again")
		}
		return nil
	})
}
