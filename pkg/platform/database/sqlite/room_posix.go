//go:build linux || darwin

package sqlite

import (
	"math"
	"syscall"
)

// room is how many bytes are free for us on the file system of path; when that is not known, plenty.
func room(path string) uint64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return math.MaxUint64
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize) //nolint:unconvert // the fields' types differ by system
}
