package shop

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `shop is a small order shop in two regions, for trying out failovers.

  shop init    --dir DIR [--east IP] [--west IP] [--grace 2s]    make a shop's directory
  shop start   --dir DIR [REGION]                                start the processes of a region, or of both
  shop stop    --dir DIR [REGION]                                end them in an orderly way
  shop kill    --dir DIR REGION                                  end them with kill -9
  shop status  --dir DIR                                         what each process says of itself
  shop writer  --dir DIR (--dns HOST:PORT --name NAME | --addr IP) [--every 20ms] [--for 10s]
                                                                 post orders, and note each that was acknowledged
  shop audit   --dir DIR                                         what was lost; exit 1 if anything was, or if two databases took writes
  shop agent   --dir DIR check|promote|demote|fence|start|stop   for the exec driver
  shop db|app|lb --dir DIR --region REGION                       one process, in the foreground
  shop manifests                                                 print the manifests
`

// arguments are the flags of all commands; each reads what it needs.
type arguments struct {
	dir, region, east, west string
	dns, name, addr, acks   string
	grace, every, limit     time.Duration
	rest                    []string
}

// Main runs the program with its arguments (without its own name) and gives its exit code. How to start it again, for the agent and
// the processes, is self.
func Main(args []string, stdout, stderr io.Writer) int {
	exe, err := os.Executable()
	if err != nil {
		exe = "shop"
	}
	return Run(args, []string{exe}, stdout, stderr)
}

// Run is Main for a program that embeds the shop: self is the command that runs it, such as [omnictl, shop].
func Run(args, self []string, stdout, stderr io.Writer) int {
	err := run(args, self, stdout, stderr)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, usage)
		return exitDone
	}
	_, _ = fmt.Fprintln(stderr, "shop:", err)
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errNotSupported):
		return exitNotSupported
	case errors.Is(err, errStaleEpoch):
		return exitStale
	}
	return exitFailed
}

var errUsage = errors.New("see `shop help`")

func parse(command string, args []string) (arguments, error) {
	a := arguments{}
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&a.dir, "dir", "./shop-data", "")
	f.StringVar(&a.region, "region", "", "")
	f.StringVar(&a.east, "east", EastAddress, "")
	f.StringVar(&a.west, "west", WestAddress, "")
	f.DurationVar(&a.grace, "grace", DefaultGrace, "")
	f.StringVar(&a.dns, "dns", "", "")
	f.StringVar(&a.name, "name", HostName, "")
	f.StringVar(&a.addr, "addr", "", "")
	f.StringVar(&a.acks, "acks", "", "")
	f.DurationVar(&a.every, "every", 20*time.Millisecond, "")
	f.DurationVar(&a.limit, "for", 0, "")
	for len(args) > 0 { // flags may stand behind words, too
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return a, err
			}
			return a, fmt.Errorf("%w: %w", err, errUsage)
		}
		if args = f.Args(); len(args) > 0 {
			a.rest, args = append(a.rest, args[0]), args[1:]
		}
	}
	return a, nil
}

func run(args, self []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("which command? %w", errUsage)
	}
	a, err := parse(args[0], args[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case DB, App, LB:
		return runMember(a.dir, a.region, args[0], stderr)
	case "help", "-h", "--help":
		return flag.ErrHelp
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch args[0] {
	case "init":
		_, err := Setup(a.dir, Options{East: a.east, West: a.west, Command: self, Grace: a.grace})
		return err
	case "agent":
		if len(a.rest) != 1 {
			return fmt.Errorf("agent: give one action: %w", errUsage)
		}
		return runAgent(ctx, a.dir, a.rest[0], os.Getenv, stdout)
	case "start", "stop", "kill":
		return a.regions(ctx, args[0], stdout)
	case "status":
		return status(ctx, a.dir, stdout)
	case "writer":
		return a.writer(ctx, stdout)
	case "audit":
		return a.audit(stdout)
	case "manifests":
		return printManifests(stdout)
	}
	return fmt.Errorf("there is no command %q: %w", args[0], errUsage)
}

// regions starts, stops or kills one region or both.
func (a arguments) regions(ctx context.Context, command string, stdout io.Writer) error {
	names := a.rest
	if len(names) == 0 && command != "kill" {
		names = []string{East, West}
	}
	if len(names) == 0 {
		return fmt.Errorf("kill: name a region: %w", errUsage)
	}
	for _, region := range names {
		var err error
		switch command {
		case "start":
			err = StartRegion(ctx, a.dir, region)
		case "stop":
			err = StopRegion(ctx, a.dir, region)
		default:
			var pids []int
			pids, err = KillRegion(ctx, a.dir, region)
			_, _ = fmt.Fprintln(stdout, "killed", strings.Trim(fmt.Sprint(pids), "[]"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// status prints one JSON line a process.
func status(ctx context.Context, dir string, stdout io.Writer) error {
	c, err := Load(dir)
	if err != nil {
		return err
	}
	out := json.NewEncoder(stdout)
	for _, r := range c.Regions {
		for _, name := range Names() {
			s, err := Ask(ctx, dir, r.Name, name)
			if err != nil {
				s = Status{Region: r.Name, Name: name, Role: Stopped, Message: err.Error()}
			}
			if err := out.Encode(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a arguments) writer(ctx context.Context, stdout io.Writer) error {
	if a.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.limit)
		defer cancel()
	}
	report, err := Write(ctx, WriterOptions{
		DNS: a.dns, Name: a.name, Address: a.addr, Every: a.every, Acks: orDefault(a.acks, AcksFile(a.dir)),
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(report)
}

var errNotClean = errors.New("the audit is not clean")

func (a arguments) audit(stdout io.Writer) error {
	report, err := Audit(RegionDir(a.dir, East), RegionDir(a.dir, West), orDefault(a.acks, AcksFile(a.dir)))
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(report); err != nil {
		return err
	}
	if report.Lost > 0 || report.TwoWriters {
		return errNotClean
	}
	return nil
}
