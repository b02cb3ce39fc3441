//go:build !linux && !darwin

package sqlite

import "math"

// room is not known on this system.
func room(string) uint64 { return math.MaxUint64 }
