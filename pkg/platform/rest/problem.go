package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

const problemType = "application/problem+json"

// Problem is the body of every error answer (RFC 9457), with the members code, request_id, hint and errors added.
type Problem struct {
	Type      string       `json:"type" doc:"names the kind of problem"`
	Title     string       `json:"title" doc:"the kind of problem in words; the same each time"`
	Status    int          `json:"status" doc:"the HTTP status"`
	Detail    string       `json:"detail,omitempty" doc:"what happened this time, and why"`
	Code      omni.Code    `json:"code" doc:"the kind of problem, for programs"`
	RequestID string       `json:"request_id,omitempty" doc:"finds this request in logs and in the audit trail"`
	Hint      string       `json:"hint,omitempty" doc:"what to do next"`
	Errors    []FieldFault `json:"errors,omitempty" doc:"what is wrong with single fields"`
}

// FieldFault is one fault of the input: where it stands (body, query, path or header), and in which field.
type FieldFault struct {
	Location string `json:"location,omitempty"`
	omni.FieldError
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders implements huma.HeadersError: what the status asks for beside the body.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="omnicloud"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
	return h
}

// Status gives the HTTP status that code becomes.
func Status(code omni.Code) int {
	switch code {
	case omni.CodeInvalid:
		return http.StatusUnprocessableEntity
	case omni.CodeUnauthorized:
		return http.StatusUnauthorized
	case omni.CodeForbidden:
		return http.StatusForbidden
	case omni.CodeNotFound:
		return http.StatusNotFound
	case omni.CodeConflict, omni.CodeRefused, omni.CodeReferenced:
		return http.StatusConflict
	case omni.CodeStale:
		return http.StatusPreconditionFailed
	case omni.CodeLimited:
		return http.StatusTooManyRequests
	case omni.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case omni.CodeUnavailable:
		return http.StatusServiceUnavailable
	case omni.CodeFull:
		return http.StatusInsufficientStorage
	case omni.CodeUnfinished:
		return http.StatusGatewayTimeout
	case omni.CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// title gives the sentence that stands for a kind of problem.
func title(code omni.Code) string {
	switch code {
	case omni.CodeInvalid:
		return "The input is wrong"
	case omni.CodeUnauthorized:
		return "A valid API key is needed"
	case omni.CodeForbidden:
		return "The API key lacks a permission"
	case omni.CodeNotFound:
		return "It does not exist"
	case omni.CodeConflict:
		return "It conflicts with what is there"
	case omni.CodeStale:
		return "It has changed in the meantime"
	case omni.CodeRefused:
		return "It was refused"
	case omni.CodeReferenced:
		return "Something else still needs it"
	case omni.CodeLimited:
		return "Too many requests"
	case omni.CodeTooLarge:
		return "The request is too large"
	case omni.CodeUnavailable:
		return "A dependency does not answer"
	case omni.CodeFull:
		return "No space is left"
	case omni.CodeUnfinished:
		return "It has not finished"
	case omni.CodeInternal:
		return "A fault of ours"
	}
	return "A fault of ours"
}

// NewProblem translates err: the one place where an error becomes what a client sees. An error without a code, or with
// CodeInternal, shows nothing of itself.
func NewProblem(ctx context.Context, err error) *Problem {
	if ready, ok := errors.AsType[*Problem](err); ok {
		return ready
	}
	var e *omni.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.DeadlineExceeded):
		e = omni.Errorf(omni.CodeUnfinished, "the request took longer than it may").
			WithHint("look whether it had its effect before you send it again; an Idempotency-Key makes that safe")
	case errors.Is(err, context.Canceled):
		e = omni.Errorf(omni.CodeUnavailable, "the request was cancelled before it ended")
	default:
		e = omni.Errorf(omni.CodeInternal, "")
	}
	p := &Problem{
		Type:      "urn:omnicloud:problem:" + string(e.Code),
		Title:     title(e.Code),
		Status:    Status(e.Code),
		Detail:    e.Message,
		Code:      e.Code,
		RequestID: omni.RequestFrom(ctx).ID,
		Hint:      e.Hint,
	}
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, FieldFault{FieldError: f})
	}
	if e.Code == omni.CodeInternal {
		p.Detail = "something went wrong inside the server; its log says what, under this request's id"
		p.Hint = "try again, and if it stays, look up the request id in the log of omnid"
		p.Errors = nil
	}
	return p
}

// WriteProblem answers a request with err.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := NewProblem(r.Context(), err)
	for name, values := range p.GetHeaders() {
		if w.Header().Get(name) == "" {
			w.Header()[name] = values
		}
	}
	body, mErr := json.Marshal(p)
	if mErr != nil { // cannot happen: all members are plain
		body = []byte(`{"status":500,"code":"internal"}`)
	}
	w.Header().Set("Content-Type", problemType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(body, '\n')) // the client may be gone
	}
}

// withStatus makes a problem of HTTP itself (405, 408, 415), for which there is no code.
func withStatus(ctx context.Context, status int, e *omni.Error) *Problem {
	p := NewProblem(ctx, e)
	p.Status = status
	return p
}

// reform gives huma's own errors the form of all others. It is a huma.Transformer.
func reform(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	e := omni.Errorf(codeFor(m.Status), "%s", summary(m))
	p := NewProblem(ctx.Context(), e)
	p.Status = m.Status
	for _, d := range m.Errors {
		if p.Code != omni.CodeInternal && d != nil {
			p.Errors = append(p.Errors, fault(d))
		}
	}
	if p.Code == omni.CodeInvalid {
		p.Hint = "correct what errors names; /openapi.json describes every field"
	}
	return p, nil
}

func codeFor(status int) omni.Code {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return omni.CodeTooLarge
	case status >= http.StatusInternalServerError:
		return omni.CodeInternal
	}
	return omni.CodeInvalid
}

// summary says the first fault in the sentence itself, for those who see only that.
func summary(m *huma.ErrorModel) string {
	if len(m.Errors) == 0 || m.Errors[0] == nil {
		return m.Detail
	}
	f := fault(m.Errors[0])
	s := f.Path + ": " + f.Message
	if n := len(m.Errors) - 1; n > 0 {
		s += " (and " + strconv.Itoa(n) + " more)"
	}
	return s
}

// fault turns huma's detail into ours: the path without its location, a missing property named by its path, and never the
// value, which may be a secret.
func fault(d *huma.ErrorDetail) FieldFault {
	location, path, _ := strings.Cut(d.Location, ".")
	message := d.Message
	if inner, rest, ok := strings.Cut(message, located); ok { // from unmarshal: it knows the path, huma does not
		path, message = inner, rest
	}
	if name, ok := strings.CutPrefix(message, "expected required property "); ok {
		if name, ok = strings.CutSuffix(name, " to be present"); ok {
			path, message = join(path, name), "is missing"
		}
	}
	switch {
	case message == "unexpected property":
		message = "is not a field that is known here"
	case strings.HasPrefix(message, "invalid date/time for format 2006-01-02T15:04:05"):
		message = "must be a time of RFC 3339, such as 2026-01-31T09:30:00Z"
	}
	if path == "" {
		path = location
	}
	return FieldFault{Location: location, FieldError: omni.FieldError{Path: path, Message: message}}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
