package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// server is where the database is, as errors name it.
type server struct {
	name database.Name
	host string // without user and password
}

// The codes are SQLSTATEs: PostgreSQL's manual, appendix A.
func state(err error) string {
	if raw, ok := errors.AsType[*pgconn.PgError](err); ok {
		return raw.Code
	}
	return ""
}

// retryable says that the transaction met another one, and may well pass the next time.
func retryable(err error) bool {
	switch state(err) {
	case "40001", "40P01": // serialization failure, deadlock
		return true
	case "0A000": // a migration has changed a table under a prepared statement, which pgx prepares anew the next time
		return strings.Contains(err.Error(), "cached plan")
	}
	return false
}

// lost says that the connection broke, or that the server is (re)starting.
func lost(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch code := state(err); code {
	case "57P01", "57P02", "57P03": // shut down by an administrator, crashed, not yet ready
		return true
	case "":
		_, op := errors.AsType[*net.OpError](err)
		return op || errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err) || cut(err)
	default:
		return strings.HasPrefix(code, "08")
	}
}

// cut recognises a connection that ended in the middle.
func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) ||
		strings.Contains(err.Error(), "conn closed") // pgx has no value for it
}

// translate gives the error of a statement the code that it has on either kind of database.
func (s *server) translate(err error) *omni.Error {
	_, refused := errors.AsType[*pgconn.ConnectError](err)
	if raw, ok := errors.AsType[*pgconn.PgError](err); ok {
		if e := s.byState(raw); e != nil || !refused {
			return e
		}
	}
	if lost(err) || refused || pgconn.Timeout(err) {
		return omni.Errorf(omni.CodeUnavailable, "the database %s at %s does not answer", s.name, s.host).WithCause(err).
			WithHint("is PostgreSQL running there, and can this machine reach it?")
	}
	return nil
}

func (s *server) byState(raw *pgconn.PgError) *omni.Error {
	switch raw.Code {
	case "23505", "23P01":
		return omni.Errorf(omni.CodeConflict, "there is one already (%s)", raw.ConstraintName).WithCause(raw)
	case "23503":
		return omni.Errorf(omni.CodeReferenced, "it refers to something that is not there, or something else still refers to it").WithCause(raw)
	case "23502", "23514", "23000", "23001":
		return omni.Errorf(omni.CodeInvalid, "the database does not take a value (%s)", subject(raw)).WithCause(raw)
	case "40001", "40P01", "55P03":
		return omni.Errorf(omni.CodeUnavailable, "the database %s is busy with other writes", s.name).WithCause(raw).WithHint("try again")
	case "53100":
		return omni.Errorf(omni.CodeFull, "no space is left to write the database %s", s.name).WithCause(raw).
			WithHint("free space on the server %s; reads go on meanwhile", s.host)
	case "25P02":
		return omni.Errorf(omni.CodeInternal, "a statement followed a failed one in the same transaction on the database %s", s.name).WithCause(raw)
	case "57014":
		return omni.Errorf(omni.CodeUnavailable, "the work on the database %s was given up", s.name).WithCause(raw)
	case "25P03":
		return omni.Errorf(omni.CodeUnavailable, "the server ended a transaction on the database %s that had said nothing for too long", s.name).WithCause(raw)
	case "25006":
		return omni.Errorf(omni.CodeUnavailable, "the database %s takes no writes", s.name).WithCause(raw).
			WithHint("is %s a standby?", s.host)
	case "42501":
		return s.forbidden(raw)
	case "54000", "54001", "54023":
		return omni.Errorf(omni.CodeTooLarge, "a value is too large to be stored").WithCause(raw)
	case "XX001", "XX002":
		return omni.Errorf(omni.CodeInternal, "the database %s at %s is damaged", s.name, s.host).WithCause(raw).
			WithHint("restore it from a backup")
	}
	return s.byClass(raw)
}

func (s *server) byClass(raw *pgconn.PgError) *omni.Error {
	switch raw.Code[:min(2, len(raw.Code))] {
	case "22": // a value out of range, of the wrong form, or with a NUL in it
		return omni.Errorf(omni.CodeInvalid, "the database does not take a value (%s)", raw.Message).WithCause(raw)
	case "08", "53", "57", "58": // connection, resources, operator, system
		return omni.Errorf(omni.CodeUnavailable, "the database %s at %s does not serve: %s", s.name, s.host, raw.Message).WithCause(raw)
	case "28":
		return omni.Errorf(omni.CodeUnavailable, "the server %s does not let the user of database %s in", s.host, s.name).WithCause(raw).
			WithHint("check user and password in the URL, and the server's pg_hba.conf")
	case "3D":
		return omni.Errorf(omni.CodeUnavailable, "the server %s has no such database", s.host).WithCause(raw).
			WithHint("create it, owned by the user of the URL")
	}
	return nil
}

// forbidden tells a foreign tenant's row from a right that is missing.
func (s *server) forbidden(raw *pgconn.PgError) *omni.Error {
	if strings.Contains(raw.Message, "row-level security") {
		return omni.Errorf(omni.CodeForbidden, "the row belongs to another tenant").WithCause(raw)
	}
	return omni.Errorf(omni.CodeInternal, "the role %s lacks a right on the database %s: %s", database.DaemonRole, s.name, raw.Message).WithCause(raw).
		WithHint("run the migrations as the owner of the tables")
}

// subject names what a constraint was about.
func subject(raw *pgconn.PgError) string {
	switch {
	case raw.ConstraintName != "":
		return raw.ConstraintName
	case raw.ColumnName != "":
		return raw.TableName + "." + raw.ColumnName
	}
	return raw.TableName
}

// opening names the server in whatever went wrong while connecting.
func (s *server) opening(err error) error {
	if err == nil {
		return nil
	}
	if e := s.translate(err); e != nil {
		return e
	}
	return omni.Errorf(omni.CodeUnavailable, "the database %s at %s cannot be opened", s.name, s.host).WithCause(err)
}
