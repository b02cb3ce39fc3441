package omni

import (
	"errors"
	"fmt"
	"slices"
)

// Code classes an error for machines. It is turned into an HTTP status or an exit code once, at the edge.
type Code string

// The codes, each with the HTTP status and the exit code of omnictl that it becomes.
const (
	CodeInvalid      Code = "invalid"      // 422, exit 64: the input is wrong; Fields says where
	CodeUnauthorized Code = "unauthorized" // 401, exit 4: no key, or not a valid one
	CodeForbidden    Code = "forbidden"    // 403, exit 4: the key lacks a permission
	CodeNotFound     Code = "not_found"    // 404, exit 5: it does not exist, or is another tenant's
	CodeConflict     Code = "conflict"     // 409, exit 6: exists already, or somebody else was faster
	CodeStale        Code = "stale"        // 412, exit 6: the version or the plan is no longer true
	CodeRefused      Code = "refused"      // 409, exit 7: a guard, a policy or a missing confirmation said no
	CodeReferenced   Code = "referenced"   // 409, exit 6: something else still needs it
	CodeLimited      Code = "limited"      // 429, exit 1: try again later
	CodeTooLarge     Code = "too_large"    // 413, exit 64
	CodeUnavailable  Code = "unavailable"  // 503, exit 1: a dependency does not answer; safe to try again
	CodeFull         Code = "full"         // 507, exit 1: no space is left to write
	CodeInternal     Code = "internal"     // 500, exit 1: a fault of ours
	CodeUnfinished   Code = "unfinished"   // 504, exit 8: still going on, or its outcome is not known
)

// FieldError says what is wrong with one field of the input. Path is written as in "spec.placements[1].role".
// Line and Column count from 1; 0 means that they are not known.
type FieldError struct {
	Path    string `json:"path"`
	Message string `json:"message"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
}

// Error is the one error type that crosses package borders. Message is a sentence for people that says what
// happened and why; Hint says what to do next; the cause is for logs and never leaves the process.
type Error struct {
	Code    Code
	Message string
	Hint    string
	Fields  []FieldError
	cause   error
}

// Errorf makes an Error. A %w verb becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: wrapped.Error(), cause: errors.Unwrap(wrapped)}
}

// WithHint returns a copy that tells the reader what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy whose Message stays as it is and whose cause is kept for logs.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// WithFields returns a copy that also names the fields that were wrong.
func (e *Error) WithFields(fields ...FieldError) *Error {
	c := *e
	c.Fields = append(slices.Clone(e.Fields), fields...)
	return &c
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf gives the code of the first *Error in err's chain: CodeInternal for an error without one, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// Is reports whether err carries code.
func Is(err error, code Code) bool { return err != nil && CodeOf(err) == code }
