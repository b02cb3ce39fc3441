package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// openDataDir makes the directory when it is missing and takes it for this process alone. The lock ends with the process, however
// that ends.
func openDataDir(dir string) (unlock func(context.Context) error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, omni.Errorf(omni.CodeUnavailable, "data directory %s cannot be made: %w", dir, err).
			WithHint("name another with --data-dir")
	}
	path := filepath.Join(dir, "LOCK")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // below the directory that the operator named
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			return nil, omni.Errorf(omni.CodeUnavailable, "data directory %s may not be written by this user: %w", dir, err).
				WithHint("make it writable for the user that runs omnid, or name another with --data-dir")
		}
		return nil, omni.Errorf(omni.CodeUnavailable, "data directory %s: %w", dir, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := file.Read(holder) // the pid is only for the message
		_ = file.Close()
		return nil, omni.Errorf(omni.CodeConflict, "data directory %s is in use by another omnid (pid %s)", dir, strings.TrimSpace(string(holder[:n]))).
			WithHint("stop that one, or give this one a directory of its own with --data-dir")
	}
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // only for the message above
	}
	return func(context.Context) error { return file.Close() }, nil
}
