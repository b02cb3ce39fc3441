// Package migrations holds the SQL of the four databases, one folder each, numbered in the order in which it is applied.
//
// Files are in goose's format, written for PostgreSQL. The lines between "-- +dialect postgres" (or sqlite) and
// "-- +dialect end" are kept for that dialect only, and {{bigserial}} becomes the dialect's growing primary key. A file
// that has been released is never edited: a change is a new file.
package migrations

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

//go:embed infra tenants billing audit
var files embed.FS

// FS gives the migrations of one database, with the files at its root.
func FS(name database.Name) fs.FS {
	sub, err := fs.Sub(files, string(name))
	if err != nil { // only for a name that is no path
		return failing{fmt.Errorf("migrations of %q: %w", name, err)}
	}
	return sub
}

// failing is a file system that only has an error to give.
type failing struct{ err error }

func (f failing) Open(string) (fs.File, error) { return nil, f.err }
