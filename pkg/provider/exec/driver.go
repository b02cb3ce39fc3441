package exec

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// Limits of the timeout of one action.
const (
	DefaultTimeout = 30 * time.Second
	MinTimeout     = 10 * time.Millisecond
	MaxTimeout     = time.Hour
)

// DefaultParallel is how many programs run at once when Options does not say.
const DefaultParallel = 128

// The exit codes that mean something.
const (
	exitNotSupported = 3
	exitStaleEpoch   = 4
)

// Options sets up a Driver.
type Options struct {
	Path     string // the PATH that programs are given; daemon passes its own
	Parallel int    // how many programs run at once; 0 is DefaultParallel. More wait, without using up their timeouts
}

// Driver runs a program for each action.
type Driver struct {
	path   string
	runner *provider.Runner
}

// New makes a Driver.
func New(opts Options) *Driver {
	if opts.Parallel <= 0 {
		opts.Parallel = DefaultParallel
	}
	return &Driver{path: opts.Path, runner: provider.NewRunner(opts.Parallel)}
}

// settings is what a placement's config says.
type settings struct {
	argv    []string
	env     map[string]string
	timeout time.Duration
}

func read(config map[string]any) (settings, *provider.Settings) {
	s := provider.ReadSettings(config)
	out := settings{timeout: s.Duration("timeout", DefaultTimeout, MinTimeout, MaxTimeout), env: s.Pairs("env")}
	switch config["command"].(type) {
	case []any, []string:
		out.argv = s.Texts("command")
	default:
		if program := s.Text("command"); program != "" {
			out.argv = []string{program}
		}
	}
	if len(out.argv) == 0 || out.argv[0] == "" {
		s.Fault("command", "must be the path of a program, or a list of it and its arguments")
		out.argv = nil
	}
	for _, name := range slices.Sorted(maps.Keys(out.env)) {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			s.Fault("env", "%q is not the name of a variable", provider.Shorten(name, 64))
		case strings.HasPrefix(name, "OMNI_"):
			s.Fault("env."+provider.Shorten(name, 64), "must not begin with OMNI_: omnid sets these")
		}
	}
	return out, s
}

// Validate implements provider.Driver. It does not look whether the program exists: omnid may run on another machine.
func (d *Driver) Validate(config map[string]any) []omni.FieldError {
	_, s := read(config)
	return s.Faults()
}

// Check implements provider.Driver.
func (d *Driver) Check(ctx context.Context, c provider.Call) (provider.State, error) {
	c.Action = provider.Check
	res, err := d.run(ctx, c)
	if err != nil {
		return provider.State{}, err
	}
	line := bytes.TrimSpace(res.Stdout)
	if len(res.Stdout) <= provider.MaxState && bytes.ContainsAny(line, "\n") {
		return provider.State{}, omni.Errorf(omni.CodeInternal, "check printed %d lines, where one line of JSON is expected; it begins with %q",
			bytes.Count(line, []byte("\n"))+1, provider.Shorten(provider.Clean(provider.Shorten(string(line), 1024)), 200)).
			WithHint("print one JSON object on one line of stdout, and everything else on stderr")
	}
	return provider.ParseState(res.Stdout)
}

// Do implements provider.Driver.
func (d *Driver) Do(ctx context.Context, c provider.Call) error {
	_, err := d.run(ctx, c)
	return err
}

// run runs the program for one action and turns its exit code into an error.
func (d *Driver) run(ctx context.Context, c provider.Call) (provider.Exit, error) {
	conf, s := read(c.Target.Config)
	if err := s.Err("exec"); err != nil {
		return provider.Exit{}, err
	}
	res, err := d.runner.Run(ctx, provider.Program{
		Argv:    append(slices.Clone(conf.argv), string(c.Action)),
		Env:     d.environment(conf.env, c),
		Timeout: conf.timeout,
	})
	switch {
	case err != nil:
		return res, err
	case res.TimedOut:
		return res, failed(res, "%s did not end within %s, and was killed with everything that it had started", c.Action, omni.Duration(conf.timeout))
	case res.Signal != 0:
		return res, failed(res, "%s was killed by a signal (%s)", c.Action, res.Signal)
	case res.Code == 0:
		return res, nil
	case res.Code == exitNotSupported:
		return res, said(provider.ErrNotSupported, res)
	case res.Code == exitStaleEpoch:
		return res, said(provider.ErrStaleEpoch, res)
	}
	return res, failed(res, "%s failed with exit code %d", c.Action, res.Code)
}

// said adds the last lines of what the program said to err.
func said(err error, res provider.Exit) error {
	if res.Text == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, res.Text)
}

// failed makes the error of a process that did not do what it should, with the last lines of what it said.
func failed(res provider.Exit, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if res.Text == "" {
		return omni.Errorf(omni.CodeUnavailable, "%s, and said nothing", what)
	}
	return omni.Errorf(omni.CodeUnavailable, "%s: %s", what, res.Text)
}

// environment is all that the program sees: PATH, what the config gives (which may replace PATH), and the call.
func (d *Driver) environment(given map[string]string, c provider.Call) []string {
	env := map[string]string{"PATH": d.path}
	maps.Copy(env, given)
	maps.Copy(env, map[string]string{
		"OMNI_TENANT": c.Target.Tenant, "OMNI_RESOURCE": c.Target.Resource, "OMNI_TYPE": c.Target.Type,
		"OMNI_REGION": c.Target.Region, "OMNI_ADDRESS": c.Target.Address, "OMNI_ROLE": c.Role,
		"OMNI_RUN": c.Run, "OMNI_STEP": c.Step, "OMNI_EPOCH": strconv.FormatInt(c.Epoch, 10),
	})
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
