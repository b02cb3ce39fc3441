package demo_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/cli/demo"
)

func TestADirectoryThatHoldsSomethingIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "omni-data"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := demo.Command(&console.Console{Out: &out, Err: &errs, Output: "table", Environ: os.Getenv})
	cmd.SetArgs([]string{"--dir", dir, "--omnid", filepath.Join(dir, "none")})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.ExecuteContext(t.Context()); console.ExitCode(err) != console.ExitUsage {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("it holds %v (%v)", entries, err)
	}
}
