package shop

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// service is what a member serves: a database, an app server or a load balancer.
type service interface {
	// prepare does what must be done before next is on disk, and may refuse or amend it.
	prepare(ctx context.Context, r request, next *state) error
	// settle makes the service be what s says. It may be called again with the same.
	settle(ctx context.Context, s state) error
	// describe fills in what only the service knows.
	describe(ctx context.Context, s *Status)
}

// member is a running process of the shop: it holds its home's lock, and changes its role one request at a time.
type member struct {
	config *Config
	region Region
	name   string
	home   home
	log    *slog.Logger

	acting  sync.Mutex // held during a change of role
	mu      sync.Mutex // guards state
	state   state
	service service
}

// now gives the state; nobody may change what it refers to.
func (m *member) now() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// act carries out a request. When it returns nil the effect is on disk and in force.
func (m *member) act(ctx context.Context, r request) error {
	m.acting.Lock()
	defer m.acting.Unlock()
	old := m.now()
	next, repeated, err := old.next(r)
	if err != nil {
		return err
	}
	if !repeated {
		if err := m.service.prepare(ctx, r, &next); err != nil {
			return err
		}
	}
	if err := m.home.writeState(next); err != nil {
		// A fence stays in force in memory although it is not on disk; anything else is taken back.
		if next.Role != Fenced {
			err = joinSettle(err, m.service.settle(ctx, old))
		}
		return err
	}
	m.mu.Lock()
	m.state = next
	m.mu.Unlock()
	m.log.InfoContext(ctx, "changed", "action", r.Action, "from", old.Role, "to", next.Role, "epoch", next.Epoch, "term", next.Term,
		"run", r.Run, "step", r.Step, "repeated", repeated)
	return m.service.settle(ctx, next)
}

func joinSettle(err, settle error) error {
	if settle != nil {
		return fmt.Errorf("%w; and taking it back: %w", err, settle)
	}
	return err
}

// Status is what a process says of itself.
type Status struct {
	Region     string   `json:"region"`
	Name       string   `json:"name"`
	PID        int      `json:"pid"`
	Role       Role     `json:"role"`
	Epoch      int64    `json:"epoch"`
	Healthy    bool     `json:"healthy"` // it serves, as its role asks
	Message    string   `json:"message,omitempty"`
	LagSeconds *float64 `json:"lag_seconds,omitempty"` // of a standby database: 0 when it has all that was acknowledged
	LagBytes   *int64   `json:"lag_bytes,omitempty"`

	// Of a database only.
	Term    int64  `json:"term,omitempty"`
	Last    int64  `json:"last,omitempty"`    // sequence number of the last record
	Chain   string `json:"chain,omitempty"`   // chain value behind it
	Mode    string `json:"mode,omitempty"`    // of an active one: alone, joining, synced or waiting
	Accepts bool   `json:"accepts,omitempty"` // it takes writes
}
