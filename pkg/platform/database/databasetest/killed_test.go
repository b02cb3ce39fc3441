package databasetest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

const childEnv = "OMNI_TEST_HANG"

// TestHangs starts a server and hangs, in the child process that TestKilled kills.
func TestHangs(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return // in the parent there is nothing to test
	}
	conn, err := pgx.Connect(t.Context(), databasetest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	var dir string
	if err := conn.QueryRow(t.Context(), `show data_directory`).Scan(&dir); err != nil {
		t.Fatal(err)
	}
	fmt.Println("data", dir)
	select {}
}

func TestKilled(t *testing.T) {
	databasetest.URL(t) // where there is no PostgreSQL, this skips
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHangs$", "-test.v")
	child.Env = append(os.Environ(), childEnv+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	dir := ""
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		dir, _ = strings.CutPrefix(lines.Text(), "data ")
		if dir == lines.Text() {
			dir = ""
		}
	}
	pid := 0
	text, err := os.ReadFile(dir + "/postmaster.pid")
	if err == nil {
		_, err = fmt.Sscan(string(text), &pid)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	if err != nil || pid == 0 {
		t.Fatalf("the child's server is not known: %q, %v", text, err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err := os.Stat(dir)
		if os.IsNotExist(err) && syscall.Kill(pid, 0) != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server outlives the test program that started it (folder: %v)", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
