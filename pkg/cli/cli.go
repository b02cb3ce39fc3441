package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/audit"
	"github.com/omnicloud/omnicloud/pkg/cli/auth"
	"github.com/omnicloud/omnicloud/pkg/cli/billing"
	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/cli/demo"
	"github.com/omnicloud/omnicloud/pkg/cli/dns"
	"github.com/omnicloud/omnicloud/pkg/cli/event"
	"github.com/omnicloud/omnicloud/pkg/cli/failover"
	"github.com/omnicloud/omnicloud/pkg/cli/manifest"
	"github.com/omnicloud/omnicloud/pkg/cli/region"
	"github.com/omnicloud/omnicloud/pkg/cli/server"
	"github.com/omnicloud/omnicloud/pkg/cli/tenant"
)

// Main runs omnictl with args and gives its exit code.
func Main(version string, args []string, in io.Reader, out, errs io.Writer) int {
	// The demo's processes are this program again: `omnictl shop …` is what its manifests name as the agent.
	if len(args) > 0 && args[0] == "shop" {
		return demo.Shop(args[1:], out, errs)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &console.Console{In: in, Out: out, Err: errs, Environ: os.Getenv, Now: time.Now, Version: version}
	root, release := Root(c)
	defer release()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return console.ExitInterrupted
	}
	c.Complain(err)
	return console.ExitCode(err)
}

// Root is the root command with all others below it. release frees what --timeout takes, once the command has run.
func Root(c *console.Console) (root *cobra.Command, release func()) {
	cancel := context.CancelFunc(func() {})
	root = &cobra.Command{
		Use:   "omnictl",
		Short: "The client of OmniCloud, the multi-cloud control plane",
		Long: "omnictl drives OmniCloud: it moves tenants out of dying regions and back, applies manifests, and shows who did what.\n\n" +
			"New here? `omnictl demo` shows the main job on this machine, by itself, in under a minute.",
		Version:       c.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Check(); err != nil {
				return err
			}
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return console.Usage("%v\n  → usage: %s", err, cmd.UseLine())
			}
			var ctx context.Context
			ctx, cancel = c.WithTimeout(cmd.Context())
			cmd.SetContext(ctx)
			return nil
		},
	}
	root.SetVersionTemplate("omnictl {{.Version}}\n")
	c.Flags(root.PersistentFlags())
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(console.Outputs(), cobra.ShellCompDirectiveNoFileComp)) // declared above
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// A flag that nobody knows is often one of a command that is spelt wrongly; then the command is what to tell.
		if words := cmd.Flags().Args(); len(words) > 0 && cmd.HasSubCommands() {
			return unknown(cmd, words[0])
		}
		return console.Usage("%v\n  → %s --help", err, cmd.CommandPath())
	})
	groups(root,
		group{"start", "Start here:", []*cobra.Command{demo.Command(c), server.Status(c), server.Doctor(c)}},
		group{"move", "Move tenants:", []*cobra.Command{failover.Command(c), failover.FailbackCommand(c), region.Command(c)}},
		group{"describe", "Describe what there is:", manifest.Commands(c)},
		group{"look", "Look at what happened:", []*cobra.Command{event.Command(c), audit.Command(c), billing.Command(c), dns.Command(c)}},
		group{"access", "Tenants and access:", []*cobra.Command{tenant.Command(c), auth.Command(c)}},
	)
	root.AddCommand(server.Version(c))
	root.SetOut(c.Out)
	root.InitDefaultCompletionCmd() // here already, so that usage sees it
	usage(root)
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args[0])
		}
		return nil
	}
	return root, func() { cancel() }
}

type group struct {
	id, title string
	commands  []*cobra.Command
}

func groups(root *cobra.Command, list ...group) {
	for _, g := range list {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
}

// usage makes wrong arguments errors of usage (exit 64), with the line that shows the right ones; a noun without a verb, or with an
// unknown one, says which verbs there are.
func usage(cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		usage(child)
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknown(cmd, args[0])
		}
		return
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return console.Usage("%v\n  → usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
}

// unknown says that cmd has no command called word, and which it has, or which one may have been meant.
func unknown(cmd *cobra.Command, word string) error {
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return console.Usage("%s has no command %q\n  → did you mean %s?", cmd.CommandPath(), word, strings.Join(near, " or "))
	}
	var names []string
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	return console.Usage("%s has no command %q; it has %s", cmd.CommandPath(), word, strings.Join(names, ", "))
}
