package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of one call.
const (
	maxAnswer  = 64 << 20 // bytes of an answer's body
	maxTries   = 4
	firstPause = 200 * time.Millisecond
	maxPause   = 5 * time.Second
)

// Options say which server, and who asks.
type Options struct {
	Server    string // http://127.0.0.1:8000
	Token     string
	Transport http.RoundTripper // nil: http.DefaultTransport
	UserAgent string
}

// Client talks to one omnid. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	token     string
	userAgent string
	http      *http.Client
}

// New makes a client. The error names what is wrong with the address.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.Server)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, omni.Errorf(omni.CodeInvalid, "server: %q is not an address such as http://127.0.0.1:8000", o.Server)
	}
	transport := o.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	return &Client{base: base, token: o.Token, userAgent: o.UserAgent, http: &http.Client{
		Transport: transport,
		// A redirect would carry the key to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// call is one request before it is made.
type call struct {
	method  string
	path    string // below /api/v1, without a leading slash; elements already escaped
	query   url.Values
	body    any
	headers map[string]string
	asks    bool // a POST that changes nothing: it needs no key to be repeated, and no room to store one
}

// do makes the call, again where that is safe, and decodes the answer into out (nil: it is dropped).
func (c *Client) do(ctx context.Context, in call, out any) error {
	var body []byte
	if in.body != nil {
		var err error
		if body, err = json.Marshal(in.body); err != nil {
			return omni.Errorf(omni.CodeInternal, "the request cannot be written: %w", err)
		}
	}
	headers := map[string]string{}
	maps.Copy(headers, in.headers)
	if in.method == http.MethodPost && !in.asks {
		headers["Idempotency-Key"] = rand.Text() // the same on each try, so that a repeat has no second effect
	}
	safe := in.method == http.MethodGet || in.method == http.MethodPost || headers["If-Match"] != ""
	pause := firstPause
	for try := 1; ; try++ {
		again, err := c.once(ctx, in, body, headers, out)
		if err == nil || !safe || try == maxTries || again < 0 || ctx.Err() != nil {
			return err
		}
		if waitErr := sleep(ctx, max(pause, min(again, maxPause))); waitErr != nil {
			return err
		}
		pause *= 2
	}
}

// once makes the call a single time. again says how long the server wants to be left alone before another try: negative
// when another try makes no sense.
func (c *Client) once(ctx context.Context, in call, body []byte, headers map[string]string, out any) (again time.Duration, err error) {
	response, err := c.send(ctx, in, body, headers)
	if err != nil {
		if untrusted(err) {
			return -1, c.unreachable(ctx, err)
		}
		return 0, c.unreachable(ctx, err)
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or given up
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, c.unreachable(ctx, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return retryAfter(response), problem(response, data)
	}
	if out == nil || len(data) == 0 {
		return -1, nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return -1, omni.Errorf(omni.CodeInternal, "the server at %s answered something that is not JSON of the expected form: %w", c.base.Host, err).
			WithHint("check that --server is the address of an omnid, and that its version fits: omnictl version")
	}
	return -1, nil
}

func (c *Client) send(ctx context.Context, in call, body []byte, headers map[string]string) (*http.Response, error) {
	target := c.base.JoinPath("api", "v1").String() + "/" + in.path
	if len(in.query) > 0 {
		target += "?" + in.query.Encode()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, in.method, target, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	request.Header.Set("User-Agent", c.userAgent)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	return c.http.Do(request)
}

// unreachable turns a failed connection into the error that people see.
func (c *Client) unreachable(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return omni.Errorf(omni.CodeUnfinished, "the server at %s did not answer in time", c.base.Host).WithCause(err).
			WithHint("give it longer with --timeout, or ask omnictl doctor what is wrong")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	hint := "start it with `omnid`, or say where it is with --server or OMNI_SERVER"
	switch {
	case isFor[*tls.CertificateVerificationError](err):
		hint = "if the certificate is your own CA's, name the CA's file in SSL_CERT_FILE"
	case errors.Is(err, http.ErrSchemeMismatch):
		hint = "it speaks HTTP without TLS there: write http:// instead of https://"
	}
	return omni.Errorf(omni.CodeUnavailable, "cannot reach omnid at %s: %w", c.base, err).WithHint("%s", hint)
}

// isFor says whether err is or wraps a T.
func isFor[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// untrusted says whether one side does not accept the other's certificate, which no other try changes.
func untrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.AlertError](err)
	return ok
}

func retryAfter(response *http.Response) time.Duration {
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds >= 0 {
			return time.Duration(seconds) * time.Second
		}
		return 0
	case http.StatusConflict:
		if response.Header.Get("Retry-After") != "" { // the same idempotency key is being worked on
			return time.Second
		}
	}
	return -1
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// problem reads an RFC 9457 answer.
func problem(response *http.Response, data []byte) error {
	var p struct {
		Title     string `json:"title"`
		Detail    string `json:"detail"`
		Code      string `json:"code"`
		RequestID string `json:"request_id"`
		Hint      string `json:"hint"`
		Errors    []struct {
			omni.FieldError
			Location string `json:"location"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(data, &p); err != nil || p.Code == "" {
		hint := "check that --server is the address of an omnid"
		if response.StatusCode == http.StatusBadRequest && bytes.Contains(data, []byte("HTTPS server")) {
			hint = "it speaks TLS there: write https:// instead of http://"
		}
		return omni.Errorf(omni.CodeInternal, "the server answered %s, without saying why", response.Status).WithHint("%s", hint)
	}
	sentence := p.Detail
	if sentence == "" {
		sentence = p.Title
	}
	e := omni.Errorf(omni.Code(p.Code), "%s", sentence)
	for _, f := range p.Errors {
		if f.Path == "" {
			f.Path = f.Location
		}
		e = e.WithFields(f.FieldError)
	}
	if p.Hint != "" {
		e = e.WithHint("%s", p.Hint)
	}
	return &Problem{cause: e, Status: response.StatusCode, RequestID: p.RequestID}
}

// Problem is the server's error, with the id under which its logs know the request.
type Problem struct {
	cause     *omni.Error
	Status    int
	RequestID string
}

// Error implements error.
func (p *Problem) Error() string { return p.cause.Message }

// Unwrap gives the *omni.Error.
func (p *Problem) Unwrap() error { return p.cause }

// path joins and escapes the elements of a path.
func path(elements ...string) string {
	escaped := make([]string, len(elements))
	for i, e := range elements {
		escaped[i] = url.PathEscape(e)
	}
	return strings.Join(escaped, "/")
}

// query makes url.Values from pairs of name and value, leaving out empty values.
func query(pairs ...string) url.Values {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			values.Set(pairs[i], pairs[i+1])
		}
	}
	return values
}

// all reads every page of a list, at most bound items.
func all[T any](ctx context.Context, c *Client, in call, bound int) ([]T, error) {
	items := []T{}
	for {
		var page omni.Page[T]
		if err := c.do(ctx, in, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" || len(items) >= bound {
			return items, nil
		}
		if in.query == nil {
			in.query = url.Values{}
		}
		in.query.Set("after", page.Next)
	}
}

// Get reads any path below /api/v1, for what has no method of its own.
func (c *Client) Get(ctx context.Context, path string, q url.Values, out any) error {
	return c.do(ctx, call{method: http.MethodGet, path: path, query: q}, out)
}

// Ready asks /readyz?verbose, which needs no key. A server that is not ready answers too; only one that cannot be reached is an error.
func (c *Client) Ready(ctx context.Context) (ready bool, checks map[string]string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath("readyz").String()+"?verbose", nil)
	if err != nil {
		return false, nil, fmt.Errorf("readyz: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return false, nil, c.unreachable(ctx, err)
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	var answer struct {
		Status string `json:"status"`
		Checks []struct {
			Name  string `json:"name"`
			OK    bool   `json:"ok"`
			Error string `json:"error"`
		} `json:"checks"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer); err != nil {
		return false, nil, omni.Errorf(omni.CodeUnavailable, "what answers at %s is not an omnid", c.base).
			WithHint("say where it is with --server or OMNI_SERVER")
	}
	checks = map[string]string{}
	for _, check := range answer.Checks {
		checks[check.Name] = check.Error
	}
	return response.StatusCode == http.StatusOK, checks, nil
}
