package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// servers builds the programs below servers into the folder of the binaries, once.
var servers = sync.OnceValue(func() error {
	args := []string{"build", "-o", bin + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./servers/agent", "./servers/etcd")...)
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
