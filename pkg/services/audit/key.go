package audit

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// KeyFile is the name of the signing key's file in the data directory.
const KeyFile = "audit.key"

// keyName is the name under which checkpoints are signed.
const keyName = "omnicloud.audit"

// keys is what the file audit.key gives: a signer, the verifier of its signatures, and the key of the seals.
type keys struct {
	signer   note.Signer
	verifier note.Verifier
	public   string
	seal     []byte
}

// loadKeys reads the key file in dir, or makes it on the first start. The file has mode 0600; one that others may read is
// refused.
func loadKeys(dir string) (*keys, error) {
	path := filepath.Join(dir, KeyFile)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := createKey(path); err != nil {
			return nil, fmt.Errorf("create the audit key: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("the audit key: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, omni.Errorf(omni.CodeRefused, "%s has mode %04o: others can read the audit key", path, info.Mode().Perm()).
			WithHint("chmod 600 %s, and consider the key known to whoever could read it", path)
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the path is the operator's own data directory
	if err != nil {
		return nil, fmt.Errorf("read the audit key: %w", err)
	}
	k, err := parseKey(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil, omni.Errorf(omni.CodeRefused, "%s is not an audit key", path).WithCause(err).
			WithHint("put the original file back; without it the existing logs cannot be verified")
	}
	return k, nil
}

// createKey writes a new key so that the file appears whole or not at all; when another process was faster, its key
// stays.
func createKey(path string) error {
	secret, _, err := note.GenerateKey(rand.Reader, keyName)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), KeyFile+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // its content lives on under its final name
	_, err = f.WriteString(secret + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func parseKey(secret string) (*keys, error) {
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	public, err := publicKey(secret)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return nil, err
	}
	seal, err := hkdf.Key(sha256.New, []byte(secret), nil, "omnicloud audit seal", sha256.Size)
	if err != nil {
		return nil, err
	}
	return &keys{signer: signer, verifier: verifier, public: public, seal: seal}, nil
}

// sealOf binds the leaf with this hash to its place in the log of tenant.
func (k *keys) sealOf(tenant string, index int64, leaf tlog.Hash) []byte {
	mac := hmac.New(sha256.New, k.seal)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(tenant))))
	mac.Write([]byte(tenant))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(index)))
	mac.Write(leaf[:])
	return mac.Sum(nil)
}

// publicKey gives the verifier key that belongs to a signer key of note.GenerateKey.
func publicKey(secret string) (string, error) {
	parts := strings.SplitN(secret, "+", 5) // PRIVATE, KEY, the name, its hash, and base64, which may hold a '+'
	if len(parts) != 5 {
		return "", errors.New("malformed signer key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("malformed signer key")
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("malformed signer key")
	}
	return note.NewEd25519VerifierKey(parts[2], public)
}
