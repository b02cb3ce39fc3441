package console

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// The exit codes that scripts rely on.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitDifferent   = 2
	ExitDenied      = 4
	ExitNotFound    = 5
	ExitConflict    = 6
	ExitRefused     = 7
	ExitUnfinished  = 8
	ExitRolledBack  = 9
	ExitUsage       = 64
	ExitInterrupted = 130
)

// ExitError ends the program with a code of its own; an empty Message prints nothing, since the output said it.
type ExitError struct {
	Code    int
	Message string
}

// Error implements error.
func (e *ExitError) Error() string { return e.Message }

// Exit makes an ExitError.
func Exit(code int, format string, args ...any) error {
	return &ExitError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Usage is an error in how the command was typed.
func Usage(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Message: fmt.Sprintf(format, args...)}
}

// ExitCode turns an error into the program's exit code.
func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &exit):
		return exit.Code
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	switch omni.CodeOf(err) {
	case omni.CodeUnauthorized, omni.CodeForbidden:
		return ExitDenied
	case omni.CodeNotFound:
		return ExitNotFound
	case omni.CodeConflict, omni.CodeStale, omni.CodeReferenced:
		return ExitConflict
	case omni.CodeRefused:
		return ExitRefused
	case omni.CodeUnfinished:
		return ExitUnfinished
	case omni.CodeInvalid, omni.CodeTooLarge:
		return ExitUsage
	case omni.CodeLimited, omni.CodeUnavailable, omni.CodeFull, omni.CodeInternal:
	}
	return ExitFailed
}

// Complain writes what happened, why, what to do next and the request id to Err.
func (c *Console) Complain(err error) {
	if err == nil || err.Error() == "" || errors.Is(err, context.Canceled) {
		return
	}
	text := err.Error()
	c.Say("omnictl: %s", text)
	if known, ok := errors.AsType[*omni.Error](err); ok {
		for _, f := range known.Fields {
			// What the sentence says already is not said again, but for the place in a file.
			if line := field(f); f.Line > 0 || !strings.Contains(text, line) {
				c.Say("  %s", line)
			}
		}
		if hint := hintFor(known); hint != "" {
			c.Say("  → %s", hint)
		}
	}
	var problem *client.Problem
	if errors.As(err, &problem) && problem.RequestID != "" {
		c.Say("  request %s", problem.RequestID)
	}
}

// hintFor is what to do next. What the server says of the API is said in terms of omnictl, where the two differ.
func hintFor(e *omni.Error) string {
	if e.Code == omni.CodeInvalid && len(e.Fields) == 1 && e.Fields[0].Path == "tenant" {
		return "add --tenant NAME"
	}
	return e.Hint
}

func field(f omni.FieldError) string {
	text := f.Message
	if f.Path != "" {
		text = f.Path + ": " + text
	}
	switch {
	case f.Line > 0 && f.Column > 0:
		text = fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, text)
	case f.Line > 0:
		text = fmt.Sprintf("%s:%d: %s", f.File, f.Line, text)
	}
	return text
}
