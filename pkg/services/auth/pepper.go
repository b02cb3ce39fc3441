package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// pepperBytes is the length of a pepper that is made here; shorter ones than minPepper are refused.
const (
	pepperBytes = 32
	minPepper   = 16
	maxPepper   = 4096
)

// LoadPepper reads the pepper from path, and makes one there (mode 0600) when there is none. Replicas that start at once on
// one directory end with the same.
func LoadPepper(path string) ([]byte, error) {
	raw, err := readPepper(path)
	if !errors.Is(err, os.ErrNotExist) {
		return raw, err
	}
	fresh := make([]byte, pepperBytes)
	if _, err := rand.Read(fresh); err != nil {
		return nil, err
	}
	err = writeNew(path, []byte(hex.EncodeToString(fresh)+"\n"))
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("write the pepper of API keys: %w", err)
	}
	return readPepper(path)
}

func readPepper(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, omni.Errorf(omni.CodeRefused, "%s can be read by others than its owner", path).WithHint("chmod 600 %s", path)
	}
	if !info.Mode().IsRegular() || info.Size() > maxPepper {
		return nil, omni.Errorf(omni.CodeInvalid, "%s is not a pepper", path).WithHint("put back the file that was there")
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the operator's own data directory
	if err != nil {
		return nil, err
	}
	if len(raw) < minPepper {
		return nil, omni.Errorf(omni.CodeInvalid, "%s is shorter than %d bytes", path, minPepper).WithHint("put back the file that was there")
	}
	return raw, nil
}

// fingerprint names a pepper without telling anything of it.
func fingerprint(pepper []byte) string {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte("omnicloud pepper fingerprint"))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// writeNew writes a file (mode 0600) whole or not at all, unless there is one: then it is os.ErrExist.
func writeNew(path string, content []byte) error {
	return place(path, content, func(made string) error {
		defer func() { _ = os.Remove(made) }() // the link below is the file
		return os.Link(made, path)
	})
}

// replace writes a file (mode 0600) whole or not at all, in the place of one that may be there.
func replace(path string, content []byte) error {
	return place(path, content, func(made string) error { return os.Rename(made, path) })
}

// place writes a file beside path, makes it durable, and has move put it where it belongs.
func place(path string, content []byte, move func(made string) error) (err error) {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = move(f.Name())
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error above tells
		return err
	}
	dir, err := os.Open(folder) //nolint:gosec // the operator's own data directory
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
