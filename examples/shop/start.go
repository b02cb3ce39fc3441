package shop

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// startWait is how long a process may take until it answers.
const startWait = 4 * time.Second

// StartRegion starts the three processes of a region, those that do not run yet, and returns when they answer. They are processes of
// their own, in sessions of their own: a signal to the caller's terminal or process group does not reach them.
func StartRegion(ctx context.Context, dir, region string) error {
	c, r, err := loadRegion(dir, region)
	if err != nil {
		return err
	}
	for _, name := range Names() {
		if err := c.ensure(ctx, r, name); err != nil {
			return err
		}
	}
	return nil
}

// KillRegion ends the three processes of a region with SIGKILL, those and no others, and returns when they are gone. It gives
// their process ids.
func KillRegion(ctx context.Context, dir, region string) ([]int, error) {
	return endRegion(ctx, dir, region, syscall.SIGKILL)
}

// StopRegion ends the three processes of a region in an orderly way, and with SIGKILL those that do not end.
func StopRegion(ctx context.Context, dir, region string) error {
	_, err := endRegion(ctx, dir, region, syscall.SIGTERM)
	if err != nil {
		_, err = endRegion(ctx, dir, region, syscall.SIGKILL)
	}
	return err
}

// StopAll ends every process of the shop in dir, whoever has started it.
func StopAll(ctx context.Context, dir string) error {
	c, err := Load(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range c.Regions {
		errs = append(errs, StopRegion(ctx, dir, r.Name))
	}
	return errors.Join(errs...)
}

func loadRegion(dir, region string) (*Config, Region, error) {
	c, err := Load(dir)
	if err != nil {
		return nil, Region{}, err
	}
	r, err := c.region(region)
	return c, r, err
}

// endRegion sends the signal to all three at once, then waits.
func endRegion(ctx context.Context, dir, region string, sig syscall.Signal) ([]int, error) {
	c, r, err := loadRegion(dir, region)
	if err != nil {
		return nil, err
	}
	var pids []int
	var errs []error
	names := Names()
	slices.Reverse(names) // orderly ends begin in front
	var alive []Process
	for _, name := range names {
		p, runs, err := c.home(r.Name, name).running()
		if err == nil && runs {
			err = syscall.Kill(p.PID, sig)
			pids, alive = append(pids, p.PID), append(alive, p)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("ending %s of %s: %w", name, region, err))
		}
	}
	for _, p := range alive {
		if err := until(ctx, func() bool { return !p.Alive() }); err != nil {
			errs = append(errs, fmt.Errorf("process %d of %s has not ended: %w", p.PID, region, err))
		}
	}
	return pids, errors.Join(errs...)
}

// ensure starts a process that does not run, and returns when it answers.
func (c *Config) ensure(ctx context.Context, r Region, name string) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	h, caller := c.home(r.Name, name), newCaller(c.Secret)
	if err := os.MkdirAll(h.path, 0o700); err != nil {
		return fmt.Errorf("starting %s of %s: %w", name, r.Name, err)
	}
	var ended <-chan error
	for {
		_, err := caller.state(ctx, 300*time.Millisecond, r.control(name))
		if err == nil {
			return nil
		}
		// One that is just dying still counts as alive, so look again each time.
		_, alive, readErr := h.running()
		if readErr != nil {
			return readErr
		}
		if !alive && ended == nil {
			if ended, readErr = c.spawn(r, name, h); readErr != nil {
				return readErr
			}
		}
		select {
		case end := <-ended:
			if _, other, _ := h.running(); other {
				ended = make(chan error) // somebody else has started it at the same time
				continue
			}
			return errors.Join(fmt.Errorf("%s of %s has ended at once: %s", name, r.Name, lastLine(filepath.Join(h.path, "log"))), end)
		default:
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("%s of %s does not answer: %w", name, r.Name, err)
		}
	}
}

// spawn starts a process that outlives the caller: its own session, nothing inherited but the PATH, its output in a file.
func (c *Config) spawn(r Region, name string, h home) (<-chan error, error) {
	logs, err := os.OpenFile(filepath.Join(h.path, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s of %s: %w", name, r.Name, err)
	}
	defer func() { _ = logs.Close() }()
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return nil, err
	}
	argv := append(slices.Clone(c.Command), name, "--dir", dir, "--region", r.Name)
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // the user's own configuration names it, and it outlives every context here
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s of %s: %w", name, r.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // reaps it
	return ended, nil
}

// lastLine is the end of a log, for an error.
func lastLine(path string) string {
	data, err := os.ReadFile(path) //nolint:gosec // the path is of the user's own directory
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(data[max(0, len(data)-2048):]))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// FreeAddresses finds two loopback addresses of the form 127.x.y.1 on which all of the shop's ports are free.
func FreeAddresses(ctx context.Context) (east, west string, err error) {
	var found []string
	for range 200 {
		b := make([]byte, 2)
		if _, err := rand.Read(b); err != nil {
			return "", "", err
		}
		address := fmt.Sprintf("127.%d.%d.1", 64+int(b[0])%190, 1+int(b[1])%253)
		if err = allFree(ctx, address); err != nil || slices.Contains(found, address) {
			continue
		}
		if found = append(found, address); len(found) == 2 {
			return found[0], found[1], nil
		}
	}
	return "", "", fmt.Errorf("found no two free loopback addresses (on some systems 127.x.y.1 must be configured first): %w", err)
}

func allFree(ctx context.Context, address string) error {
	for _, p := range ports {
		for _, port := range []int{p.serve, p.control} {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", hostPort(address, port))
			if err != nil {
				return err
			}
			_ = l.Close()
		}
	}
	return nil
}
