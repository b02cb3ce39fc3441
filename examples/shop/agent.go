package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"
)

// The exit codes of the agent, as the exec driver understands them.
const (
	exitDone         = 0
	exitFailed       = 1
	exitNotSupported = 3
	exitStale        = 4
	exitUsage        = 64
)

// hungAfter is how long a process may take to answer a fence, before it is killed for its silence.
const hungAfter = time.Second

// agent does what the exec driver asks for, to one process of one region.
type agent struct {
	config *Config
	region Region
	name   string
	home   home
	caller *caller
}

// runAgent is `shop agent ACTION`. env looks a variable up.
func runAgent(ctx context.Context, dir, action string, env func(string) string, stdout io.Writer) error {
	c, r, err := loadRegion(dir, env("OMNI_REGION"))
	if err != nil {
		return fmt.Errorf("OMNI_REGION: %w", err)
	}
	name, err := processOf(env("OMNI_TYPE"))
	if err != nil {
		return err
	}
	a := agent{config: c, region: r, name: name, home: c.home(r.Name, name), caller: newCaller(c.Secret)}
	if action == actionCheck {
		return json.NewEncoder(stdout).Encode(a.look(ctx))
	}
	req := request{Action: action, Run: env("OMNI_RUN"), Step: env("OMNI_STEP")}
	if text := env("OMNI_EPOCH"); text != "" {
		if req.Epoch, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("OMNI_EPOCH: %.40q is not a whole number", text)
		}
	}
	if err := req.check(); err != nil {
		return err
	}
	return a.do(ctx, req)
}

// processOf finds the process that a resource's type means.
func processOf(kind string) (string, error) {
	switch kind {
	case "database":
		return DB, nil
	case "app":
		return App, nil
	case "loadbalancer":
		return LB, nil
	}
	return "", fmt.Errorf("OMNI_TYPE: the shop has no %.40q: it has database, app and loadbalancer", kind)
}

var errNotSupported = errors.New("this action is not supported")

func (a agent) do(ctx context.Context, r request) error {
	// A dead process cannot refuse what is stale, so look first: nothing is started for a leader that is over.
	stored, err := a.home.readState(a.region.Role)
	if err != nil {
		return err
	}
	if _, _, err := stored.next(r); err != nil {
		return err
	}
	switch r.Action {
	case actionPromote, actionDemote, actionStart:
		if err := a.config.ensure(ctx, a.region, a.name); err != nil {
			return err
		}
		_, err := a.caller.act(ctx, startWait, a.region.control(a.name), r)
		if err == nil && r.Action == actionDemote && a.name == DB {
			a.awaitSync(ctx)
		}
		return err
	case actionFence:
		return a.fence(ctx, r)
	case actionStop:
		return a.stop(ctx, r)
	}
	return fmt.Errorf("%.40q: %w", r.Action, errNotSupported)
}

// awaitSync waits until the database has caught up with the other one, as long as that is active, so that whoever asks next does
// not find a standby that has only just begun to follow. It goes on catching up when that takes longer.
func (a agent) awaitSync(ctx context.Context) {
	peer := a.config.peer(a.region.Name).control(DB)
	_ = until(ctx, func() bool { // being late is no failure of the demotion
		other, err := a.caller.state(ctx, hungAfter, peer)
		if err != nil || other.Role != Active {
			return true
		}
		own, err := a.caller.state(ctx, hungAfter, a.region.control(DB))
		return err != nil || own.LagSeconds != nil && *own.LagSeconds == 0
	})
}

// fence asks the process to fence itself. One that does not answer is killed, and the fence is put into its home, under the lock
// that it would need in order to start again.
func (a agent) fence(ctx context.Context, r request) error {
	_, alive, err := a.home.running()
	if err != nil {
		return err
	}
	if alive {
		_, err := a.caller.act(ctx, hungAfter, a.region.control(a.name), r)
		if err == nil || errors.Is(err, errStaleEpoch) {
			return err
		}
	}
	if err := a.home.kill(ctx, syscall.SIGKILL); err != nil {
		return fmt.Errorf("it does not answer, and killing it failed: %w", err)
	}
	return a.record(ctx, r)
}

// record writes a request's effect into the home of a process that does not run.
func (a agent) record(ctx context.Context, r request) error {
	lock, err := a.home.lock(ctx, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	// Only who holds the lock may start, so this stays true until the lock is given up.
	if p, alive, err := a.home.running(); err != nil || alive {
		return errors.Join(err, fmt.Errorf("process %d runs without the lock: end it by hand", p.PID))
	}
	stored, err := a.home.readState(a.region.Role)
	if err != nil {
		return err
	}
	next, repeated, err := stored.next(r)
	if err != nil || repeated && next.Epoch == stored.Epoch {
		return err
	}
	return a.home.writeState(next)
}

// stop ends the process; what it is stays as it was.
func (a agent) stop(ctx context.Context, r request) error {
	if err := a.home.kill(ctx, syscall.SIGTERM); err != nil {
		if err := a.home.kill(ctx, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return a.record(ctx, r)
}

// seen is the answer to check.
type seen struct {
	Role       Role     `json:"role,omitempty"`
	Healthy    bool     `json:"healthy"`
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
	LagBytes   *int64   `json:"lag_bytes,omitempty"`
	Message    string   `json:"message,omitempty"`
}

// look asks the process, and looks into its home when it does not answer.
func (a agent) look(ctx context.Context) seen {
	s, err := a.caller.state(ctx, hungAfter, a.region.control(a.name))
	if err == nil {
		return seen{Role: s.Role, Healthy: s.Healthy, LagSeconds: s.LagSeconds, LagBytes: s.LagBytes, Message: s.Message}
	}
	p, alive, runErr := a.home.running()
	stored, stateErr := a.home.readState(a.region.Role)
	switch {
	case runErr != nil || stateErr != nil:
		return seen{Message: errors.Join(runErr, stateErr).Error()}
	case alive:
		return seen{Message: fmt.Sprintf("process %d runs but does not answer: %.300s", p.PID, err)}
	case stored.Role == Fenced:
		return seen{Role: Fenced, Message: fmt.Sprintf("it does not run, and is fenced with epoch %d", stored.Epoch)}
	}
	return seen{Role: Stopped, Message: "it does not run"}
}
