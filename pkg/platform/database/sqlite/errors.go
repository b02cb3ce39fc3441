package sqlite

import (
	"errors"
	"strings"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// leastRoom is the free space, in bytes, below which a failed write is taken for a full disk: one transaction's log can well
// be as large.
const leastRoom = 1 << 20

// retryable says that the transaction met another one, and may well pass the next time. A lock that another process holds is
// not among that: the driver has already waited for it.
func retryable(err error) bool {
	return errors.Is(err, sqlite3.BUSY_SNAPSHOT) || errors.Is(err, sqlite3.BUSY_RECOVERY) || errors.Is(err, sqlite3.LOCKED)
}

// translate gives the error of a statement the code that it has on either kind of database.
func (f *file) translate(err error) *omni.Error {
	if e := f.space(err); e != nil {
		return e
	}
	raw, full := errors.AsType[*sqlite3.Error](err)
	if !full {
		return f.bare(err)
	}
	switch raw.Code() { //nolint:exhaustive // the other codes are faults of ours, and stay internal
	case sqlite3.CONSTRAINT:
		return constraint(raw)
	case sqlite3.BUSY, sqlite3.LOCKED:
		return omni.Errorf(omni.CodeUnavailable, "the database %s is busy with other writes", f.name).WithCause(err).
			WithHint("try again; if it lasts, look for another program that holds %s open", f.path)
	case sqlite3.INTERRUPT:
		return omni.Errorf(omni.CodeUnavailable, "the work on the database %s was given up", f.name).WithCause(err)
	case sqlite3.TOOBIG:
		return omni.Errorf(omni.CodeTooLarge, "a value is too large to be stored").WithCause(err)
	}
	return f.broken(err)
}

// bare translates the codes that the driver gives without a message, as it does for an interrupt.
func (f *file) bare(err error) *omni.Error {
	switch {
	case errors.Is(err, sqlite3.INTERRUPT):
		return omni.Errorf(omni.CodeUnavailable, "the work on the database %s was given up", f.name).WithCause(err)
	case errors.Is(err, sqlite3.BUSY), errors.Is(err, sqlite3.LOCKED):
		return omni.Errorf(omni.CodeUnavailable, "the database %s is busy with other writes", f.name).WithCause(err)
	}
	return f.broken(err)
}

// space recognises that there is no room left to write. The driver mostly loses what the system said of a failed write: then
// the file system is asked whether it is full.
func (f *file) space(err error) *omni.Error {
	full := errors.Is(err, sqlite3.FULL)
	if !full && errors.Is(err, sqlite3.IOERR) && !errors.Is(err, sqlite3.IOERR_READ) {
		full = errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || room(f.path) < leastRoom
	}
	if !full {
		return nil
	}
	return omni.Errorf(omni.CodeFull, "no space is left to write the database %s", f.name).WithCause(err).
		WithHint("free space on the file system of %s; reads go on meanwhile", f.path)
}

// broken recognises what is wrong with the file itself.
func (f *file) broken(err error) *omni.Error {
	switch {
	case errors.Is(err, sqlite3.NOTADB):
		return omni.Errorf(omni.CodeInternal, "%s is not an SQLite database", f.path).WithCause(err).
			WithHint("restore the database %s from a backup, or move the file away to start with an empty one", f.name)
	case errors.Is(err, sqlite3.CORRUPT):
		return omni.Errorf(omni.CodeInternal, "the database file %s is damaged", f.path).WithCause(err).
			WithHint("stop omnid and restore the database %s from a backup", f.name)
	case errors.Is(err, sqlite3.READONLY):
		return omni.Errorf(omni.CodeUnavailable, "the database file %s can only be read", f.path).WithCause(err).
			WithHint("let the user that runs omnid write to the file and to its folder")
	case errors.Is(err, sqlite3.CANTOPEN), errors.Is(err, sqlite3.PERM):
		return omni.Errorf(omni.CodeUnavailable, "the database file %s cannot be opened", f.path).WithCause(err).
			WithHint("is its folder there, and may the user that runs omnid read and write in it?")
	case errors.Is(err, sqlite3.IOERR):
		return omni.Errorf(omni.CodeUnavailable, "the storage under %s fails to read or write", f.path).WithCause(err).
			WithHint("look into the system's log for errors of the disk")
	}
	return nil
}

// opening names the file in whatever went wrong while it was opened.
func (f *file) opening(err error) error {
	if _, known := errors.AsType[*omni.Error](err); known {
		return err
	}
	if e := f.translate(err); e != nil {
		return e
	}
	return omni.Errorf(omni.CodeUnavailable, "the database file %s cannot be opened: %v", f.path, err).WithCause(err)
}

// constraint tells the constraints apart. SQLite does not say whether a foreign key lacks its parent or a parent still has
// children: both are CodeReferenced, as on PostgreSQL.
func constraint(raw *sqlite3.Error) *omni.Error {
	what := raw.Error()
	if i := strings.LastIndex(what, "failed: "); i >= 0 {
		what = what[i+len("failed: "):]
	}
	switch raw.ExtendedCode() { //nolint:exhaustive // the rest is about values
	case sqlite3.CONSTRAINT_UNIQUE, sqlite3.CONSTRAINT_PRIMARYKEY, sqlite3.CONSTRAINT_ROWID:
		return omni.Errorf(omni.CodeConflict, "there is one already (%s)", what).WithCause(raw)
	case sqlite3.CONSTRAINT_FOREIGNKEY:
		return omni.Errorf(omni.CodeReferenced, "it refers to something that is not there, or something else still refers to it").WithCause(raw)
	}
	return omni.Errorf(omni.CodeInvalid, "the database does not take a value (%s)", what).WithCause(raw)
}
