package shop

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// The codes of refusals on the control port.
const (
	codeStale   = "stale_epoch"
	codeRefused = "refused"
	codeInvalid = "invalid"
	codeFailed  = "failed"
)

// control is the handler of a process's control port: GET /state and POST /act, for holders of the secret.
func (m *member) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, m.status(r.Context()))
	})
	mux.HandleFunc("POST /act", func(w http.ResponseWriter, r *http.Request) {
		req := request{}
		if err := decodeStrict(r.Body, maxOrder, &req); err != nil {
			refuse(w, http.StatusBadRequest, codeInvalid, err)
			return
		}
		switch req.Action {
		case actionPromote, actionDemote, actionFence, actionStart:
		default:
			refuse(w, http.StatusBadRequest, codeInvalid, fmt.Errorf("there is no action %q here", req.Action))
			return
		}
		err := m.act(r.Context(), req)
		switch {
		case err == nil:
			answer(w, http.StatusOK, m.status(r.Context()))
		case errors.Is(err, errStaleEpoch):
			refuse(w, http.StatusConflict, codeStale, err)
		case errors.Is(err, errRefused):
			refuse(w, http.StatusConflict, codeRefused, err)
		default:
			refuse(w, http.StatusInternalServerError, codeFailed, err)
		}
	})
	return mux
}

func (m *member) status(ctx context.Context) Status {
	s := m.now()
	st := Status{Region: m.region.Name, Name: m.name, PID: os.Getpid(), Role: s.Role, Epoch: s.Epoch, Term: s.Term, Healthy: true}
	m.service.describe(ctx, &st)
	return st
}

// guarded lets in who knows the secret.
func guarded(secret string, next http.Handler) http.Handler {
	want := []byte("Bearer " + secret)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			refuse(w, http.StatusUnauthorized, "unauthorized", errors.New("this port is for the shop's own processes"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone away is no failure of ours
}

func refuse(w http.ResponseWriter, status int, code string, err error) {
	answer(w, status, refusal{Error: err.Error(), Code: code})
}

// caller talks to control ports.
type caller struct {
	secret string
	http   *http.Client
}

// maxAnswer bounds what is read of any answer, in bytes.
const maxAnswer = 64 << 10

func newCaller(secret string) *caller {
	return &caller{secret: secret, http: &http.Client{Transport: newTransport(true)}}
}

// newTransport makes a transport with bounds of its own. Connections to control ports are not kept: they are few, and a
// process that was stopped and started again must not be asked through an old one.
func newTransport(once bool) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 500 * time.Millisecond}).DialContext,
		DisableKeepAlives:     once,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: orderWait + 2*time.Second,
	}
}

// call asks a control port, and reads its status.
func (c *caller) call(ctx context.Context, limit time.Duration, method, url string, body any) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	st := Status{}
	data, err := json.Marshal(body)
	if err != nil {
		return st, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(data)) //nolint:gosec // the address is of the shop's own configuration
	if err != nil {
		return st, err
	}
	req.Header.Set("Authorization", "Bearer "+c.secret)
	resp, err := c.http.Do(req) //nolint:gosec // the address is of the shop's own configuration
	if err != nil {
		return st, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		no := refusal{}
		if err := decodeStrict(resp.Body, maxAnswer, &no); err != nil {
			return st, fmt.Errorf("the process answered %s", resp.Status)
		}
		return st, no.err()
	}
	return st, decodeStrict(resp.Body, maxAnswer, &st)
}

// err turns an answer into the error that caused it.
func (r refusal) err() error {
	switch r.Code {
	case codeStale:
		return fmt.Errorf("%w: %s", errStaleEpoch, r.Error)
	case codeRefused:
		return fmt.Errorf("%w: %s", errRefused, r.Error)
	}
	return errors.New(r.Error)
}

func (c *caller) state(ctx context.Context, limit time.Duration, address string) (Status, error) {
	return c.call(ctx, limit, http.MethodGet, "http://"+address+"/state", nil)
}

func (c *caller) act(ctx context.Context, limit time.Duration, address string, r request) (Status, error) {
	return c.call(ctx, limit, http.MethodPost, "http://"+address+"/act", r)
}

// Ask gives what the process name of region says of itself.
func Ask(ctx context.Context, dir, region, name string) (Status, error) {
	c, err := Load(dir)
	if err != nil {
		return Status{}, err
	}
	r, err := c.region(region)
	if err != nil {
		return Status{}, err
	}
	if _, ok := ports[name]; !ok {
		return Status{}, fmt.Errorf("there is no process %q: use db, app or lb", name)
	}
	return newCaller(c.Secret).state(ctx, time.Second, r.control(name))
}
