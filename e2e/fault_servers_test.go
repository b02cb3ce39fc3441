package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// servers builds the programs below servers into the folder of the binaries, once. They are without the race detector even where omnid has it:
// it would only make each of the many calls of the agent slow.
var servers = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-race=false", "-o", bin+string(filepath.Separator), "./servers/agent", "./servers/etcd")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the servers: %w\n%s", err, out)
	}
	return nil
})

// server gives the path of a program below servers.
func server(t *testing.T, name string) string {
	t.Helper()
	if err := servers(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(bin, name)
}

// startEtcd starts an etcd that ends with the test, and gives its endpoint.
func startEtcd(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), server(t, "etcd"), filepath.Join(t.TempDir(), "etcd"))
	cmd.Stderr = os.Stderr
	alive, err := cmd.StdinPipe() // the kernel closes it with this process, whatever ends it
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = alive.Close()
		_ = cmd.Wait() // how it ends does not matter any more
	})
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n') // nothing, when it has failed
		lines <- strings.TrimSpace(line)
	}()
	select {
	case endpoint := <-lines:
		if endpoint != "" {
			return endpoint
		}
		t.Fatal("etcd ended before it was ready")
	case <-time.After(patience(30 * time.Second)):
		t.Fatal("etcd was not ready in time")
	}
	return ""
}

// postgres is a PostgreSQL of the test's own.
type postgres struct {
	dir  string
	bin  string
	port string
	who  *syscall.Credential // PostgreSQL refuses to run as root
	cmd  *exec.Cmd
}

// initdbs finds PostgreSQL's programs; none when it is not installed.
func initdbs() []string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is a good one
	if len(found) == 0 {
		if path, err := exec.LookPath("initdb"); err == nil {
			found = []string{path}
		}
	}
	return found
}

// installPostgres installs it where we may: as root, with apt. The lock is that of the packages' tests, which do the same at the same time.
func installPostgres(t *testing.T) error {
	t.Helper()
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return errors.New("PostgreSQL is not installed, and may not be")
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "omnicloud-apt.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if len(initdbs()) > 0 { // another package's tests were faster
		return nil
	}
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postgresql"}} {
		cmd := exec.CommandContext(t.Context(), apt, append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// startPostgres makes a PostgreSQL that ends with the test, and installs it first where it is missing and we may. Where we may not, the test
// is skipped, and fails in CI.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	found := initdbs()
	if len(found) == 0 {
		if err := installPostgres(t); err != nil {
			t.Log(err)
		}
		found = initdbs()
	}
	if len(found) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("PostgreSQL is not installed")
		}
		t.Skipf("SKIPPED %s: PostgreSQL is not installed", t.Name())
	}
	dir, err := os.MkdirTemp("", "omni-e2e-postgres-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &postgres{dir: dir, bin: filepath.Dir(found[len(found)-1]), port: port}
	t.Cleanup(func() {
		p.quit()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Geteuid() == 0 {
		p.who = unprivileged(t)
		if err := os.Chown(dir, int(p.who.Uid), int(p.who.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	initdb := p.command("initdb", "-D", p.data(), "-U", "omni", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.start(t)
	return p
}

func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("there is no user postgres or nobody to run PostgreSQL as")
	return nil
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(p.bin, program), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + p.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.who, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

// start starts the server and waits until it takes connections.
func (p *postgres) start(t *testing.T) {
	t.Helper()
	args := []string{"-D", p.data(), "-p", p.port, "-k", p.dir}
	for _, setting := range []string{
		// Without fsync what is committed survives a death of the server, as the kernel has it; what is not yet written would not.
		"listen_addresses=127.0.0.1", "fsync=off", "synchronous_commit=on", "shared_buffers=64MB", "autovacuum=off", "max_connections=200",
		"wal_level=minimal", "max_wal_senders=0", "dynamic_shared_memory_type=mmap",
	} {
		args = append(args, "-c", setting)
	}
	p.cmd = p.command("postgres", args...)
	var log bytes.Buffer
	p.cmd.Stderr = &log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience(30*time.Second), "PostgreSQL", func() error {
		text, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
		lines := strings.Split(string(text), "\n")
		if err == nil && (lines[0] != strconv.Itoa(p.cmd.Process.Pid) || len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready") {
			err = fmt.Errorf("not ready: %q", text)
		}
		return err
	})
}

// quit is an immediate shutdown: as after a crash, the next start recovers.
func (p *postgres) quit() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
		_ = p.cmd.Wait()                          // an immediate shutdown is no success
	}
}

func (p *postgres) url() string {
	return "postgres://omni@127.0.0.1:" + p.port + "/postgres?sslmode=disable"
}
