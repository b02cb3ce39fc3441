package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// bin is the folder of the two binaries, built once.
var bin string //nolint:gochecknoglobals // TestMain hands it to the tests

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// variableBin names a folder of binaries to test instead of those that are built, such as a release's.
const variableBin = "OMNICLOUD_E2E_BIN"

func run(m *testing.M) int {
	flag.Parse()
	if err := besideOneAnother(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if bin = os.Getenv(variableBin); bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "omnicloud-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory left behind is no failure of the tests
	bin = dir
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/omnicloud/omnicloud/cmd/omnid", "github.com/omnicloud/omnicloud/cmd/omnictl")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the binaries:", err)
		return 1
	}
	return m.Run()
}

// besideOneAnother lets more scripts run at once than there are processors, since most of a script's time is waiting.
func besideOneAnother() error {
	if flag.Lookup("test.parallel").Value.String() != fmt.Sprint(runtime.GOMAXPROCS(0)) { // somebody has said how many
		return nil
	}
	return flag.Set("test.parallel", fmt.Sprint(3*runtime.GOMAXPROCS(0)))
}

// scriptsWithin bounds all scripts together, so that a program which should have ended and did not is told of within the run.
const scriptsWithin = 8 * time.Minute

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                commands(),
		Setup:               setup,
		Condition:           condition,
		Deadline:            time.Now().Add(scriptsWithin),
	})
}

func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("HOME", home)
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	env.Setenv("NO_COLOR", "1")
	if err := os.CopyFS(filepath.Join(env.WorkDir, "examples", "tour"), os.DirFS(filepath.Join("..", "examples", "tour"))); err != nil {
		return err
	}
	daemons := &daemons{running: map[string]*daemon{}}
	env.Values[daemonsKey{}] = daemons
	env.Defer(func() {
		daemons.stopAll()
		if trouble := unsaid(env.WorkDir); trouble != "" {
			env.T().Fatal(trouble)
		}
	})
	return nil
}

// unsaid finds what an omnid wrote to its log that no script may overlook: a data race, or a panic.
func unsaid(dir string) string {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err.Error()
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			return err.Error()
		}
		if at := regexp.MustCompile(`(?m)^(WARNING: DATA RACE|panic: |fatal error: )`).FindIndex(text); at != nil {
			return fmt.Sprintf("%s: %s", filepath.Base(name), text[at[0]:min(len(text), at[0]+8000)])
		}
	}
	return ""
}

// condition tells the conditions that scripts have besides testscript's own: root is a user that may mount.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("there is no condition %s", name)
}
