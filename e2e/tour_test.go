package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTour runs the lines of the README's tour as they stand there, one after the other in one shell that stops at the first that fails, in
// a fresh directory with the examples and the binaries. Only the environment is adapted: free ports, so that tests can run side by side.
func TestTour(t *testing.T) {
	t.Parallel()
	tour, after := tourLines(t)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join("..", "examples"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, "bin")); err != nil { // what `make build` makes
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("trap 'kill $omnid; wait $omnid' EXIT\n")
	for i, line := range tour {
		fmt.Fprintf(&script, "echo '@@@ %d'\n%s\n", i, line)
		if strings.HasPrefix(line, "omnid ") {
			script.WriteString("omnid=$!\n")
		}
	}
	// Behind the tour, the region dies by itself while somebody looks at the events; the README leaves them with Ctrl-C.
	if len(after) != 2 || !strings.HasPrefix(after[0], "touch ") || !strings.HasPrefix(after[1], "omnictl events tail ") {
		t.Fatalf("behind the tour the README says %q", after)
	}
	fmt.Fprintf(&script, "echo '@@@ %d'\n%s & tail=$!\n%s\n", len(tour), after[1], after[0])
	script.WriteString("until omnictl dns query shop.acme.test A 2>/dev/null | grep -q 198.51.100.20; do sleep 0.2; done\n")
	script.WriteString("until omnictl failover list --status succeeded | grep -q policy; do sleep 0.2; done\nsleep 0.3; kill $tail\necho '@@@ done'\n")

	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script.String())
	cmd.Dir, cmd.Env = dir, tourEnvironment(t, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "omnid.log")) // for the message only
		t.Fatalf("the line behind the last mark failed: %v\n%s\nomnid's log:\n%s", err, out, log)
	}
	said := byMark(string(out))
	for i, line := range tour {
		judgeLine(t, line, said[fmt.Sprint(i)])
	}
	for _, want := range []string{"region.verdict", "failover.run.changed", "failover.step.changed"} {
		if !strings.Contains(said[fmt.Sprint(len(tour))], want) {
			t.Errorf("%s shows no %s:\n%s", after[1], want, said[fmt.Sprint(len(tour))])
		}
	}
}

// judgeLine holds what a line has said against what its comment promises.
func judgeLine(t *testing.T, line, said string) {
	t.Helper()
	command, comment, _ := strings.Cut(line, " #")
	comment = strings.TrimSpace(comment)
	wants := regexp.MustCompile(`^\d+\.\d+\.\d+\.\d+`).FindAllString(comment, 1)
	switch {
	case strings.Contains(comment, "everything unchanged"):
		wants = append(wants, "0 created, 0 updated")
	case strings.HasPrefix(command, "omnictl audit verify"):
		wants = append(wants, "intact")
	case strings.Contains(command, "trigger acme"):
		wants = append(wants, "succeeded")
	case strings.HasPrefix(command, "omnictl billing usage"):
		wants = append(wants, "us-east-1", "eu-west-1")
	}
	for _, want := range wants {
		if !strings.Contains(said, want) {
			t.Errorf("%s\nsays nothing of %q:\n%s", line, want, said)
		}
	}
}

// byMark splits what the shell wrote at the marks between the lines.
func byMark(out string) map[string]string {
	said := map[string]string{}
	for _, part := range strings.Split(out, "@@@ ")[1:] {
		mark, text, _ := strings.Cut(part, "\n")
		said[mark] = text
	}
	return said
}

// tourLines reads the README: the lines of the tour without `make build`, whose binaries are there, and those of the block behind it.
func tourLines(t *testing.T) (tour, after []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- tour[^>]*-->\n```sh\n(.*?)```\n<!-- end of tour -->.*?```sh\n(.*?)```").FindSubmatch(data)
	if block == nil {
		t.Fatal("the README holds no tour between its marks, with a block behind it")
	}
	lines := func(text []byte) (list []string) {
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, line)
			}
		}
		return list
	}
	tour, after = lines(block[1]), lines(block[2])
	if len(tour) < 10 || tour[0] != "make build" {
		t.Fatalf("the tour begins with %q and has %d lines", tour[0], len(tour))
	}
	return tour[1:], after
}

// tourEnvironment moves the default ports to free ones.
func tourEnvironment(t *testing.T, dir string) []string {
	t.Helper()
	api, metrics, names := freePort(t), freePort(t), freePort(t)
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "NO_COLOR=1",
		"OMNID_LISTEN=" + api, "OMNID_METRICS_LISTEN=" + metrics, "OMNID_DNS_LISTEN=" + names,
		"OMNI_SERVER=http://" + api, "OMNI_DNS=" + names,
	}
}

// freePort gives an address on loopback that nobody listens on just now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
