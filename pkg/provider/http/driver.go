package httpdriver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// maxRedirects is how often an agent may send the driver elsewhere on the same host.
const maxRedirects = 3

// Options sets up a Driver.
type Options struct {
	// Transport sends the requests; nil is one of the driver's own, with at most 32 connections to one agent.
	Transport http.RoundTripper
}

// Driver calls agents over HTTP.
type Driver struct{ client *http.Client }

// New makes a Driver; Close it when it is no longer used.
func New(opts Options) *Driver {
	if opts.Transport == nil {
		opts.Transport = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxConnsPerHost:        32,
			MaxIdleConns:           256,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &Driver{client: &http.Client{Transport: opts.Transport, CheckRedirect: redirect}}
}

// Close closes the connections that wait for the next call.
func (d *Driver) Close() { d.client.CloseIdleConnections() }

// redirect lets an agent send a request on only to its own scheme, host and port, and only as it was.
func redirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host:
		return fmt.Errorf("it redirects to another host (%s), which is not followed", provider.Shorten(req.URL.Host, 128))
	case req.Method != first.Method:
		return errors.New("it redirects in a way that would turn POST into GET; use 307 or 308")
	case len(via) > maxRedirects:
		return errors.New("it redirects too often")
	}
	return nil
}

// Validate implements provider.Driver.
func (d *Driver) Validate(config map[string]any) []omni.FieldError {
	_, s := read(config)
	return s.Faults()
}

// Check implements provider.Driver.
func (d *Driver) Check(ctx context.Context, c provider.Call) (provider.State, error) {
	c.Action = provider.Check
	body, err := d.call(ctx, c)
	if err != nil {
		return provider.State{}, err
	}
	return provider.ParseState(body)
}

// Do implements provider.Driver.
func (d *Driver) Do(ctx context.Context, c provider.Call) error {
	_, err := d.call(ctx, c)
	return err
}

// call makes one request and turns the answer's status into an error; the body has at most provider.MaxState+1 bytes.
func (d *Driver) call(ctx context.Context, c provider.Call) ([]byte, error) {
	conf, s := read(c.Target.Config)
	if err := s.Err("http"); err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, conf.timeout)
	defer cancel()
	req, err := request(timed, conf, c)
	if err != nil {
		return nil, err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, unanswered(ctx, timed, conf, c, err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing was written that could be lost
	body, err := io.ReadAll(io.LimitReader(resp.Body, provider.MaxState+1))
	if err != nil && (c.Action == provider.Check || timed.Err() != nil) {
		return nil, unanswered(ctx, timed, conf, c, err)
	}
	return body, judge(c, resp.StatusCode, body)
}

// judge turns a status into nil or an error.
func judge(c provider.Call, status int, body []byte) error {
	said := provider.Clean(string(body[:min(len(body), provider.MaxText)]))
	switch status {
	case http.StatusOK, http.StatusNoContent:
		return nil
	case http.StatusNotImplemented:
		return with(provider.ErrNotSupported, said)
	case http.StatusConflict, http.StatusPreconditionFailed:
		return with(provider.ErrStaleEpoch, said)
	case http.StatusAccepted:
		return omni.Errorf(omni.CodeUnavailable, "%s was answered with status 202, but must be answered only once it is done", c.Action).
			WithHint("let the agent answer 200 when the work has been done")
	}
	if said == "" {
		return omni.Errorf(omni.CodeUnavailable, "%s failed with status %d, and no reason", c.Action, status)
	}
	return omni.Errorf(omni.CodeUnavailable, "%s failed with status %d: %s", c.Action, status, said)
}

func with(err error, said string) error {
	if said == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, said)
}

// unanswered is the error of a request without an answer; the URL in it carries no password and no query.
func unanswered(ctx, timed context.Context, conf settings, c provider.Call, err error) error {
	where := conf.url.Redacted()
	switch {
	case ctx.Err() != nil:
		return omni.Errorf(omni.CodeUnavailable, "%s was interrupted before %s had answered: %w", c.Action, where, ctx.Err())
	case timed.Err() != nil:
		return omni.Errorf(omni.CodeUnavailable, "%s: %s did not answer within %s", c.Action, where, omni.Duration(conf.timeout)).WithCause(err)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return omni.Errorf(omni.CodeUnavailable, "%s: %s does not answer: %w", c.Action, where, err)
}

// payload is the body of an action's request, and the query of a check's.
type payload struct {
	Tenant   string `json:"tenant"`
	Resource string `json:"resource"`
	Type     string `json:"type"`
	Region   string `json:"region"`
	Address  string `json:"address"`
	Role     string `json:"role"`
	Run      string `json:"run"`
	Step     string `json:"step"`
	Epoch    int64  `json:"epoch"`
}

func (p payload) query() url.Values {
	return url.Values{
		"tenant": {p.Tenant}, "resource": {p.Resource}, "type": {p.Type}, "region": {p.Region}, "address": {p.Address},
		"role": {p.Role}, "run": {p.Run}, "step": {p.Step}, "epoch": {strconv.FormatInt(p.Epoch, 10)},
	}
}

func request(ctx context.Context, conf settings, c provider.Call) (*http.Request, error) {
	call := payload{
		Tenant: c.Target.Tenant, Resource: c.Target.Resource, Type: c.Target.Type, Region: c.Target.Region,
		Address: c.Target.Address, Role: c.Role, Run: c.Run, Step: c.Step, Epoch: c.Epoch,
	}
	method, target, body := http.MethodGet, conf.url.JoinPath(string(c.Action)), []byte(nil)
	if c.Action == provider.Check {
		query := target.Query()
		maps.Copy(query, call.query())
		target.RawQuery = query.Encode()
	} else {
		raw, err := json.Marshal(call)
		if err != nil {
			return nil, omni.Errorf(omni.CodeInternal, "the call cannot be written as JSON: %w", err)
		}
		method, body = http.MethodPost, raw
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, omni.Errorf(omni.CodeInvalid, "the url of the http driver cannot be called: %w", err)
	}
	for name, value := range conf.headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", "omnicloud")
	req.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", c.Run+"/"+c.Step)
	}
	if work := omni.RequestFrom(ctx); work.ID != "" {
		req.Header.Set("X-Request-ID", work.ID)
		if work.TraceParent != "" {
			req.Header.Set("Traceparent", work.TraceParent)
		}
	}
	return req, nil
}
