package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// fake is a console that writes into buffers.
func fake(environ map[string]string) (c *console.Console, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &console.Console{
		In: strings.NewReader(""), Out: out, Err: errs, Environ: func(k string) string { return environ[k] },
		Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }, Output: "table",
	}, out, errs
}

func TestEachErrorHasTheExitCodeThatScriptsRelyOn(t *testing.T) {
	for code, want := range map[omni.Code]int{
		omni.CodeInvalid: 64, omni.CodeUnauthorized: 4, omni.CodeForbidden: 4, omni.CodeNotFound: 5, omni.CodeConflict: 6, omni.CodeStale: 6,
		omni.CodeReferenced: 6, omni.CodeRefused: 7, omni.CodeUnfinished: 8, omni.CodeLimited: 1, omni.CodeUnavailable: 1, omni.CodeFull: 1,
		omni.CodeInternal: 1, omni.CodeTooLarge: 64,
	} {
		if got := console.ExitCode(fmt.Errorf("around: %w", omni.Errorf(code, "x"))); got != want {
			t.Errorf("%s: exit %d, want %d", code, got, want)
		}
	}
	for want, err := range map[int]error{
		0: nil, 1: errors.New("x"), 2: console.Exit(console.ExitDifferent, ""), 9: console.Exit(console.ExitRolledBack, "x"),
		64: console.Usage("x"), 130: context.Canceled,
	} {
		if got := console.ExitCode(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
}

func TestAnErrorSaysWhatWhereAndWhatNext(t *testing.T) {
	c, out, errs := fake(nil)
	c.Complain(omni.Errorf(omni.CodeInvalid, "the file is wrong").WithHint("correct it").
		WithFields(omni.FieldError{Path: "spec.x", Message: "unknown", File: "a.yaml", Line: 3, Column: 5}))
	want := "omnictl: the file is wrong\n  a.yaml:3:5: spec.x: unknown\n  → correct it\n"
	if errs.String() != want || out.Len() > 0 {
		t.Errorf("got %q on stderr and %q on stdout", errs, out)
	}
}

func TestASevereDangerNeedsTheName(t *testing.T) {
	c, _, _ := fake(nil)
	if err := c.ConfirmName("acme", "acme", "move acme"); err != nil {
		t.Errorf("with the name: %v", err)
	}
	for _, given := range []string{"", "acm"} {
		err := c.ConfirmName("acme", given, "move acme")
		var e *omni.Error
		if !errors.As(err, &e) || e.Code != omni.CodeRefused || !strings.Contains(e.Hint, "--confirm acme") {
			t.Errorf("with %q: %v", given, err)
		}
	}
	c.Yes = true
	if err := c.ConfirmName("acme", "", "move acme"); !omni.Is(err, omni.CodeRefused) {
		t.Errorf("--yes was enough: %v", err)
	}
}

func TestAModerateDangerNeedsYes(t *testing.T) {
	c, _, _ := fake(nil)
	if err := c.ConfirmYes("end it"); !omni.Is(err, omni.CodeRefused) {
		t.Errorf("got %v", err)
	}
	c.Yes = true
	if err := c.ConfirmYes("end it"); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestTheSameDataInEveryForm(t *testing.T) {
	data := omni.Page[map[string]any]{Items: []map[string]any{{"name": "a", "n": 1}, {"name": "b", "n": 2}}}
	table := console.Table{Columns: []string{"NAME"}, Wide: []string{"N"}, Rows: [][]string{{"a", "1"}, {"b\x1b[31m", "2"}}, Names: []string{"a", "b"}}
	for output, want := range map[string]string{
		"table": "NAME\na\nb�[31m\n",
		"wide":  "NAME     N\na        1\nb�[31m  2\n",
		"name":  "a\nb\n",
		"json":  "{\n  \"items\": [\n    {\n      \"n\": 1,\n      \"name\": \"a\"\n    },\n    {\n      \"n\": 2,\n      \"name\": \"b\"\n    }\n  ]\n}\n",
		"jsonl": "{\"n\":1,\"name\":\"a\"}\n{\"n\":2,\"name\":\"b\"}\n",
		"yaml":  "items:\n  - n: 1\n    name: a\n  - n: 2\n    name: b\n",
	} {
		c, out, _ := fake(nil)
		c.Output = output
		rows := [][]string{}
		for _, r := range table.Rows {
			rows = append(rows, append([]string{}, r...))
		}
		copied := table
		copied.Rows = rows
		if err := c.Print(data, copied); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(out.String(), " \n", "\n"); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
			t.Errorf("%s:\n%s\nwant:\n%s", output, got, want)
		}
	}
}

func TestJQ(t *testing.T) {
	c, out, _ := fake(nil)
	c.JQ = ".items[] | .name"
	if err := c.PrintData(omni.Page[map[string]any]{Items: []map[string]any{{"name": "a"}, {"name": "b"}}}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "a\nb\n" {
		t.Errorf("got %q", out)
	}
	c.JQ = ".["
	if err := c.PrintData(nil); console.ExitCode(err) != console.ExitUsage {
		t.Errorf("a wrong expression: %v", err)
	}
}

func TestWhereTheServerIsSought(t *testing.T) {
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, "omnictl"), 0o700); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(home, "token")
	if err := os.WriteFile(token, []byte("omni_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := "current: prod\ncontexts:\n  prod: {server: 'http://prod:1', token_file: " + token + "}\n  test: {server: 'http://test:1', token_file: " + token + "}\n"
	if err := os.WriteFile(filepath.Join(home, "omnictl", "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		environ map[string]string
		set     func(*console.Console)
		want    string
	}{
		"the current context": {want: "http://prod:1"},
		"a named one":         {set: func(c *console.Console) { c.Context = "test" }, want: "http://test:1"},
		"the environment":     {environ: map[string]string{"OMNI_SERVER": "http://env:1"}, want: "http://env:1"},
		"the flag":            {environ: map[string]string{"OMNI_SERVER": "http://env:1"}, set: func(c *console.Console) { c.Server = "http://flag:1" }, want: "http://flag:1"},
	} {
		t.Run(name, func(t *testing.T) {
			environ := map[string]string{"XDG_CONFIG_HOME": home}
			maps.Copy(environ, tc.environ)
			c, _, errs := fake(environ)
			c.Verbose = true
			if tc.set != nil {
				tc.set(c)
			}
			if _, err := c.Client(); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(errs.String(), "server "+tc.want+",") {
				t.Errorf("got %q, want %s", errs, tc.want)
			}
		})
	}
	c, _, _ := fake(map[string]string{"XDG_CONFIG_HOME": home, "OMNI_CONTEXT": "nowhere"})
	if _, err := c.Client(); console.ExitCode(err) != console.ExitUsage {
		t.Errorf("an unknown context: %v", err)
	}
	c, _, _ = fake(map[string]string{"XDG_CONFIG_HOME": home, "OMNI_TOKEN_FILE": filepath.Join(home, "none")})
	if _, err := c.Client(); console.ExitCode(err) != console.ExitDenied {
		t.Errorf("a missing key file: %v", err)
	}
}

func TestTheKeysFileMustHoldAKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for what, file := range map[string]string{
		"two lines": write("two", "omni_a\nomni_b\n", 0o600), "a text": write("text", "# Readme\n", 0o600), "no ASCII": write("bytes", "omni_\x00", 0o600),
		"far too much": "/dev/zero", "a directory": dir, "nothing there": filepath.Join(dir, "none"),
	} {
		c, _, _ := fake(nil)
		c.TokenFile = file
		if _, err := c.Client(); !omni.Is(err, omni.CodeUnauthorized) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for file, warned := range map[string]bool{write("own", "omni_a\n", 0o600): false, write("open", "omni_a\n", 0o644): true, "/dev/null": false} {
		c, _, errs := fake(nil)
		c.TokenFile = file
		if _, err := c.Client(); err != nil || strings.Contains(errs.String(), "everybody") != warned {
			t.Errorf("%s: %v, %q", file, err, errs)
		}
	}
}

func TestAMisspeltConfigurationIsTold(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "omnictl"), 0o700); err != nil {
		t.Fatal(err)
	}
	for text, wrong := range map[string]bool{"": false, "current: a\ncontexts: {a: {server: http://x}}\n": false, "curent: a\n": true, "contexts: {a: {sever: x}}\n": true} {
		if err := os.WriteFile(filepath.Join(dir, "omnictl", "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, _ := fake(map[string]string{"XDG_CONFIG_HOME": dir})
		if _, err := c.Client(); omni.Is(err, omni.CodeInvalid) != wrong {
			t.Errorf("%q: %v", text, err)
		}
	}
}
