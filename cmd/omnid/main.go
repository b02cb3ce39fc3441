// Command omnid is OmniCloud's daemon.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/daemon"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// version is set by the linker.
var version = "dev"

// The exit codes of omnid.
const (
	exitFailed = 1
	exitUsage  = 64
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // from here on, a second signal ends the process at once
	}()
	root := command(out, errs)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	_, _ = io.WriteString(errs, complaint(err)) // nowhere left to complain to
	if _, usage := errors.AsType[usageError](err); usage {
		return exitUsage
	}
	return exitFailed
}

// complaint says what is wrong, where, and what to do.
func complaint(err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "omnid: %s\n", strings.TrimSpace(err.Error()))
	if known, ok := errors.AsType[*omni.Error](err); ok {
		for _, f := range known.Fields {
			fmt.Fprintf(&b, "  %s: %s\n", f.Path, f.Message)
		}
		if known.Hint != "" {
			fmt.Fprintf(&b, "  → %s\n", known.Hint)
		}
	}
	return b.String()
}

// usageError is an error in how the command was typed.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func command(out, errs io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "omnid",
		Short: "The daemon of OmniCloud, the multi-cloud control plane",
		Long: "omnid runs OmniCloud's services in one process. Without flags it needs nothing else: it keeps its data in\n" +
			"./omni-data and listens on loopback. Every flag is also a variable (in brackets) and a key of omnid.yaml.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, _, err := daemon.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			level := new(slog.LevelVar)
			if err := level.UnmarshalText([]byte(config.LogLevel)); err != nil {
				return err
			}
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			return daemon.Run(cmd.Context(), daemon.Options{
				Config: config, Version: version, Out: out, Err: errs, Level: level, Failpoint: daemon.FailpointFrom(os.Getenv("OMNID_FAILPOINT")),
				Reload: hangup,
				Reread: func() (daemon.Config, error) {
					config, _, err := daemon.Load(cmd.Flags(), os.Environ())
					return config, err
				},
			})
		},
	}
	daemon.Flags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(configCommand(out), migrateCommand(out), verifyCommand(out), versionCommand(out))
	usage(root)
	return root
}

// usage makes wrong arguments errors of usage; a noun without a verb, or with one that it does not have, is one too.
func usage(cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		usage(child)
	}
	if cmd.RunE == nil {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a verb: %s --help", cmd.CommandPath(), cmd.CommandPath())}
		}
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// printAll writes a line for each item.
func printAll[T fmt.Stringer](out io.Writer, items []T) error {
	for _, item := range items {
		if _, err := fmt.Fprintln(out, item); err != nil {
			return err
		}
	}
	return nil
}

func configCommand(out io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	cmd.AddCommand(&cobra.Command{
		Use: "print", Short: "Print each setting with where its value comes from", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, origins, err := daemon.Load(cmd.Flags(), os.Environ())
			return errors.Join(err, printAll(out, origins))
		},
	})
	return cmd
}

func migrateCommand(out io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the databases' schemas up to date, or show where they are"}
	for _, verb := range []struct {
		use, short string
		statusOnly bool
	}{{"up", "Apply what is missing (omnid does so itself when it starts)", false}, {"status", "List the migrations and when each was applied", true}} {
		cmd.AddCommand(&cobra.Command{
			Use: verb.use, Short: verb.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				config, _, err := daemon.Load(cmd.Flags(), os.Environ())
				if err != nil {
					return err
				}
				list, err := daemon.Migrate(cmd.Context(), config, verb.statusOnly)
				return errors.Join(err, printAll(out, list))
			},
		})
	}
	return cmd
}

func verifyCommand(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Check every invariant of the stored data, with omnid running or not", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, _, err := daemon.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			report, err := daemon.Verify(cmd.Context(), config)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(out)
			enc.SetIndent("", "  ")
			if err := enc.Encode(report); err != nil {
				return err
			}
			if !report.OK {
				return omni.Errorf(omni.CodeInternal, "the stored data breaks an invariant")
			}
			return nil
		},
	}
}

func versionCommand(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(out, version)
			return err
		},
	}
}
