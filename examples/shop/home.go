package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// home is the directory of one process. Whoever holds its lock is the only one that runs there or writes there.
type home struct{ path string }

// Process names a process beyond doubt: a process id alone may have been given to another one since.
type Process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // as the system tells it; compared for equality only
}

// Alive says whether that very process runs. One that has ended and waits to be reaped does not.
func (p Process) Alive() bool {
	started, alive := processStarted(p.PID)
	return alive && started == p.Started
}

var errLocked = errors.New("another process holds the lock")

// lock takes the directory's lock, trying until wait is over. The system drops it when the process ends, however it does.
func (h home) lock(ctx context.Context, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(h.path, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(h.path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	deadline := time.Now().Add(wait)
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", f.Name(), err), f.Close())
		}
		if !time.Now().Before(deadline) || pause(ctx, 10*time.Millisecond) != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", h.path, errLocked), f.Close())
		}
	}
}

// readState gives the stored state; first says what it is when there is none yet.
func (h home) readState(first Role) (state, error) {
	s := state{}
	err := readJSON(filepath.Join(h.path, "state.json"), maxState, &s)
	if errors.Is(err, fs.ErrNotExist) {
		return state{Role: first}, nil
	}
	if err == nil && s.Role != Active && s.Role != Standby && s.Role != Fenced {
		err = fmt.Errorf("%s: there is no role %q", h.path, s.Role)
	}
	return s, err
}

func (h home) writeState(s state) error { return writeJSON(filepath.Join(h.path, "state.json"), s) }

// readProcess gives the process that said last that it runs here; false when none ever did.
func (h home) readProcess() (Process, bool, error) {
	p := Process{}
	err := readJSON(filepath.Join(h.path, "process.json"), 4<<10, &p)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	return p, err == nil, err
}

// running gives the process that runs here, if one does.
func (h home) running() (Process, bool, error) {
	p, known, err := h.readProcess()
	return p, known && p.Alive(), err
}

// announce writes down that this process runs here. The caller holds the lock.
func (h home) announce() error {
	started, alive := processStarted(os.Getpid())
	if !alive {
		return errors.New("the system does not tell when this process started")
	}
	return writeJSON(filepath.Join(h.path, "process.json"), Process{PID: os.Getpid(), Started: started})
}

// kill ends the process of this home at once, and only it, and returns when it is gone.
func (h home) kill(ctx context.Context, sig syscall.Signal) error {
	p, alive, err := h.running()
	if err != nil || !alive {
		return err
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending process %d: %w", p.PID, err)
	}
	return until(ctx, func() bool { return !p.Alive() })
}

// patience is how long something that should happen at once may take: a process to end, a standby to catch up.
const patience = 2 * time.Second

// until waits until ok, for the patience at most.
func until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !ok() {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decodeStrict reads one JSON value of at most limit bytes, and refuses unknown fields and anything behind it.
func decodeStrict(r io.Reader, limit int64, into any) error {
	lr := &io.LimitedReader{R: r, N: limit + 1}
	dec := json.NewDecoder(lr)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something behind the JSON value")
		}
	}
	if lr.N <= 0 {
		return fmt.Errorf("%w: it has more than %d bytes", errTooLarge, limit)
	}
	if err != nil {
		return fmt.Errorf("not the JSON that belongs here: %w", err)
	}
	return nil
}

var errTooLarge = errors.New("too large")
