package databasetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is the PostgreSQL of this test program.
type server struct {
	dir   string
	port  int
	cmd   *exec.Cmd
	alive io.Closer // closed to stop it
}

// errMissing says that PostgreSQL is not installed, and may not be.
var errMissing = errors.New("PostgreSQL is not installed")

// start makes a cluster in a temporary folder and starts its server on a free port of the loopback.
func start(ctx context.Context) (_ *server, err error) {
	bin, err := binaries(ctx)
	if err != nil {
		return nil, err
	}
	who, err := credential()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "omni-postgres-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if who != nil {
		if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	if err := s.initialize(ctx, bin, who); err != nil {
		return nil, err
	}
	if s.port, err = freePort(ctx); err != nil {
		return nil, err
	}
	return s, s.run(ctx, bin, who)
}

// command makes a command as the unprivileged user: PostgreSQL refuses to run as root.
func (s *server) command(ctx context.Context, who *syscall.Credential, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // PostgreSQL's programs, or the shell
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	return cmd
}

func (s *server) initialize(ctx context.Context, bin string, who *syscall.Credential) error {
	cmd := s.command(ctx, who, filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "omni", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, tail(out))
	}
	return nil
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

// keeper runs the server as its child for as long as its own input is open. The input is a pipe from the test program, which
// the kernel closes however that program ends: then the server is stopped (SIGQUIT: at once) and its folder removed.
const keeper = `"$@" & pid=$!; read -r _; kill -QUIT $pid; wait $pid; cd /; rm -rf "$0"`

// Durable says that commits are to reach the disk, as in production, which tests forgo for speed: OMNI_TEST_DURABLE=1 asks
// for it, in benchmarks above all.
func Durable() bool { return os.Getenv("OMNI_TEST_DURABLE") == "1" }

// run starts the server and waits until it takes connections.
func (s *server) run(ctx context.Context, bin string, who *syscall.Credential) error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own copy
	args := []string{
		"-c", keeper, s.dir, filepath.Join(bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port),
		"-k", s.dir, "-c", "listen_addresses=127.0.0.1",
	}
	durable := "off"
	if Durable() {
		durable = "on"
	}
	for _, setting := range []string{
		"fsync=" + durable, "synchronous_commit=on", "full_page_writes=" + durable, "max_connections=300", "shared_buffers=64MB",
		"autovacuum=off", "max_wal_size=256MB", "jit=off", "dynamic_shared_memory_type=mmap",
		"max_parallel_workers=0", "wal_level=minimal", "max_wal_senders=0",
	} {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command(context.WithoutCancel(ctx), who, "/bin/sh", args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr.Setpgid = true // an interrupt at the terminal is the test program's business
	if s.alive, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := s.ready(ctx); err != nil {
		text, _ := os.ReadFile(log.Name()) // empty says enough
		s.stop()
		return fmt.Errorf("%w: %s", err, tail(text))
	}
	return nil
}

// ready polls until the server takes connections.
func (s *server) ready(ctx context.Context) error {
	deadline := time.Now().Add(60 * time.Second)
	for {
		text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		lines := strings.Split(string(text), "\n")
		if err == nil && len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("postgres did not get ready within a minute")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends the server and removes its files.
func (s *server) stop() {
	_ = s.alive.Close() // the keeper does the rest
	_ = s.cmd.Wait()    // its status is that of the clean-up
}

func (s *server) url(db string) string {
	return fmt.Sprintf("postgres://omni@127.0.0.1:%d/%s?sslmode=disable", s.port, db)
}

// binaries finds the folder of PostgreSQL's programs, and installs them when they are missing and it may.
func binaries(ctx context.Context) (string, error) {
	if bin := installed(); bin != "" {
		return bin, nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return "", errMissing
	}
	unlock, err := alone()
	if err != nil {
		return "", err
	}
	defer unlock()
	if bin := installed(); bin != "" { // another package's tests were faster
		return bin, nil
	}
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postgresql"}} {
		cmd := exec.CommandContext(ctx, apt, append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...) //nolint:gosec // constants
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w, and apt-get %s failed: %w: %s", errMissing, args[0], err, tail(out))
		}
	}
	if bin := installed(); bin != "" {
		return bin, nil
	}
	return "", errMissing
}

// alone waits until no other test process installs anything: apt's own locks make the second one fail.
func alone() (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "omnicloud-apt.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil // which unlocks it
}

// installed gives the newest version's folder: Debian's, or that of initdb on the path; "" when there is none.
func installed() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is a good one
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for what is no number
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

// credential gives the user to run as when we are root; nil when we are not.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no other user is a valid answer
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("there is no user postgres or nobody to run PostgreSQL as")
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }() // it was only asked for its port
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tail gives the last lines of an output.
func tail(out []byte) string {
	const most = 1000
	return string(bytes.TrimSpace(out[max(0, len(out)-most):]))
}
