package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/omnicloud/omnicloud/examples/shop"
	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// readyWait is how long omnid may take to start, stopWait to stop.
const (
	readyWait = 30 * time.Second
	stopWait  = 15 * time.Second
)

// stage is what the demo plays on: a directory, an omnid, and the shop.
type stage struct {
	c     *console.Console
	o     options
	dir   string
	shop  string // its directory
	made  bool   // the directory is ours to remove
	east  string
	west  string
	omnid *exec.Cmd
	ended chan struct{} // closed when omnid has
	ready ready
	api   *client.Client
}

// ready is omnid's first line.
type ready struct {
	Msg    string `json:"msg"`
	Listen string `json:"listen"`
	DNS    string `json:"dns"`
}

func newStage(c *console.Console, o options) (*stage, error) {
	s := &stage{c: c, o: o, dir: o.dir, ended: make(chan struct{})}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "omnicloud-demo-")
		if err != nil {
			return nil, omni.Errorf(omni.CodeUnavailable, "no temporary directory can be made: %w", err)
		}
		s.dir, s.made = dir, true
	}
	// The demo applies its manifests to the omnid of this directory: it must not be anybody's.
	if entries, err := os.ReadDir(s.dir); err == nil && len(entries) > 0 {
		return nil, console.Usage("--dir: %s is not empty; name a new directory", s.dir)
	}
	abs, err := filepath.Abs(s.dir)
	if err != nil {
		return nil, err
	}
	s.dir, s.shop = abs, filepath.Join(abs, "shop")
	return s, nil
}

// build starts everything: the shop in both regions, omnid, and applies the manifests.
func (s *stage) build(ctx context.Context) (err error) {
	program, err := findOmnid(s.o.omnid)
	if err != nil {
		return err
	}
	if s.east, s.west, err = shop.FreeAddresses(ctx); err != nil {
		return omni.Errorf(omni.CodeUnavailable, "the shop finds no addresses: %w", err)
	}
	if _, err := shop.Setup(s.shop, shop.Options{East: s.east, West: s.west, Command: self(), Owner: os.Getpid()}); err != nil {
		return omni.Errorf(omni.CodeUnavailable, "the shop cannot be set up: %w", err)
	}
	for _, region := range []string{shop.East, shop.West} {
		if err := shop.StartRegion(ctx, s.shop, region); err != nil {
			return omni.Errorf(omni.CodeUnavailable, "the shop of %s does not start: %w", region, err)
		}
	}
	s.c.Say("shop     database, app server and load balancer run in %s (%s) and %s (%s)", shop.East, s.east, shop.West, s.west)
	if err := s.startOmnid(ctx, program); err != nil {
		return err
	}
	s.c.Say("omnid    ready on http://%s, DNS on %s", s.ready.Listen, s.ready.DNS)
	return s.apply(ctx)
}

// findOmnid looks beside this program first, so that the two fit together.
func findOmnid(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if exe, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(exe), "omnid")
		if info, err := os.Stat(beside); err == nil && !info.IsDir() {
			return beside, nil
		}
	}
	found, err := exec.LookPath("omnid")
	if err != nil {
		return "", omni.Errorf(omni.CodeUnavailable, "omnid is neither beside omnictl nor in the PATH").
			WithHint("build both with `make build`, or name it with --omnid")
	}
	return found, nil
}

// startOmnid starts it on free ports, and waits for its first line.
func (s *stage) startOmnid(ctx context.Context, program string) error {
	data := filepath.Join(s.dir, "omni-data")
	logs, err := os.OpenFile(filepath.Join(s.dir, "omnid.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return omni.Errorf(omni.CodeUnavailable, "omnid's log cannot be written: %w", err)
	}
	defer func() { _ = logs.Close() }() // omnid has its own handle
	//nolint:gosec,noctx // the program that the user built or named; it ends in order, not with a context
	cmd := exec.Command(program, "--data-dir", data, "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
	cmd.Dir, cmd.Stderr = s.dir, logs
	// A group of its own: Ctrl-C reaches only the demo, which then ends it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return omni.Errorf(omni.CodeUnavailable, "omnid cannot be started: %w", err)
	}
	s.omnid = cmd
	lines := make(chan ready, 1)
	var reading sync.WaitGroup
	reading.Go(func() { readLines(out, lines) })
	go func() {
		reading.Wait()
		_ = cmd.Wait() // how it ended is in its log
		close(s.ended)
	}()
	timer := time.NewTimer(readyWait)
	defer timer.Stop()
	select {
	case s.ready = <-lines:
	case <-s.ended:
		return omni.Errorf(omni.CodeUnavailable, "omnid ended before it was ready")
	case <-timer.C:
		return omni.Errorf(omni.CodeUnavailable, "omnid was not ready after %s", readyWait)
	case <-ctx.Done():
		return ctx.Err()
	}
	token, err := os.ReadFile(filepath.Join(data, "admin.token")) //nolint:gosec // of the directory that we made
	if err != nil {
		return omni.Errorf(omni.CodeUnavailable, "omnid's first key cannot be read: %w", err)
	}
	s.api, err = client.New(client.Options{
		Server: "http://" + s.ready.Listen, Token: strings.TrimSpace(string(token)), UserAgent: "omnictl/" + s.c.Version,
	})
	return err
}

func readLines(out io.Reader, lines chan<- ready) {
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		var line ready
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == "ready" {
			select {
			case lines <- line:
			default: // only the first counts
			}
		}
	}
}

// apply describes the shop to omnid.
func (s *stage) apply(ctx context.Context) error {
	manifests, err := shop.Manifests(s.east, s.west, s.shop, self())
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "manifests")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return omni.Errorf(omni.CodeUnavailable, "the manifests cannot be written: %w", err)
	}
	var files []config.File
	for _, m := range manifests {
		files = append(files, config.File{Name: m.Name, Content: string(m.Data)})
		if err := os.WriteFile(filepath.Join(dir, m.Name), m.Data, 0o600); err != nil { // for the tour
			return omni.Errorf(omni.CodeUnavailable, "the manifests cannot be written: %w", err)
		}
	}
	result, err := s.api.Apply(ctx, files, false)
	if err != nil {
		return err
	}
	s.c.Say("apply    %d objects: two regions with three zones each, tenant %s, its resources, a policy, a DNS zone", result.Created, tenant)
	return nil
}

// explain adds the end of omnid's log to an error that has no other explanation.
func (s *stage) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || omni.Is(err, omni.CodeUnfinished) {
		err = omni.Errorf(omni.CodeUnfinished, "the demo was not over after %s", s.o.limit).WithCause(err)
	}
	log, readErr := os.ReadFile(filepath.Join(s.dir, "omnid.log"))
	if readErr == nil && len(log) > 0 {
		lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
		s.c.Say("the last lines of omnid's log:")
		for _, line := range lines[max(0, len(lines)-8):] {
			s.c.Say("  %s", line)
		}
	}
	return err
}

// keep leaves everything running and says how to look around.
func (s *stage) keep(ctx context.Context) {
	s.c.Say("\nEverything keeps running until Ctrl-C. In another terminal:")
	s.c.Say("  export OMNI_SERVER=http://%s OMNI_TOKEN_FILE=%s", s.ready.Listen, filepath.Join(s.dir, "omni-data", "admin.token"))
	host, port, _ := strings.Cut(s.ready.DNS, ":")
	s.c.Say("  dig @%s -p %s %s A +short", host, port, shop.HostName)
	s.c.Say("  omnictl regions list; omnictl failover list; omnictl audit list --tenant %s", tenant)
	s.c.Say("  omnictl shop start --dir %s us-east-1                    # the region comes back", s.shop)
	s.c.Say("  omnictl failback trigger %s --wait --confirm %s      # and the tenant with it", tenant, tenant)
	<-ctx.Done()
}

// clear ends what was started, and removes the directory if it is ours.
func (s *stage) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	var errs []error
	if s.omnid != nil {
		_ = s.omnid.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		select {
		case <-s.ended:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("omnid did not end within %s and was killed", stopWait))
			_ = s.omnid.Process.Kill()
			<-s.ended
		}
	}
	if _, err := os.Stat(s.shop); err == nil {
		errs = append(errs, shop.StopAll(context.WithoutCancel(ctx), s.shop))
	}
	if s.made {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
