// Package failover holds the commands that move tenants between regions, and the live view of a run.
package failover

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/cli/region"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Command is "omnictl failover".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Move a tenant out of a region, and watch it",
	}
	cmd.AddCommand(
		newPlan(c, failover.KindFailover), newTrigger(c, failover.KindFailover),
		newStatus(c), newWatch(c), newList(c),
		newControl(c, "approve", "Agree to a run that waits for it"),
		newControl(c, "pause", "Stop a run behind the steps that are at work"),
		newControl(c, "resume", "Let a paused run go on; failed steps are tried anew"),
		newControl(c, "abort", "End a run where it is; nothing is undone"),
		newFreeze(c), newUnfreeze(c),
	)
	return cmd
}

// FailbackCommand is "omnictl failback".
func FailbackCommand(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failback",
		Short: "Return a tenant to the region where it belongs",
	}
	cmd.AddCommand(newPlan(c, failover.KindFailback), newTrigger(c, failover.KindFailback))
	return cmd
}

// request is what plan and trigger have in common.
type request struct {
	kind           failover.Kind
	from, to, mode string
	maxLag         time.Duration
}

func (r *request) flags(c *console.Console, cmd *cobra.Command) {
	cmd.ValidArgsFunction = c.Tenants()
	flags := cmd.Flags()
	flags.StringVar(&r.from, "from", "", "region to leave")
	flags.StringVar(&r.to, "to", "", "region to go to")
	flags.StringVar(&r.mode, "mode", "", "planned (asks the old side to step down) or forced; default: planned while the old region is up")
	flags.DurationVar(&r.maxLag, "max-lag", 0, "refuse to promote a standby further behind; default: the policy's")
	for _, name := range []string{"from", "to"} { // the flags were declared above
		_ = cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return region.Names(c)(cmd, nil, typed)
		})
		if r.kind == failover.KindFailover {
			_ = cmd.MarkFlagRequired(name)
		}
	}
	modes := []cobra.Completion{string(failover.Planned), string(failover.Forced)}
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp))
}

// completeRuns completes the ids of runs that wanted accepts, newest first, each with what it is.
func completeRuns(c *console.Console, wanted func(failover.Status) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := c.Client()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := api.Failovers(cmd.Context(), "", "", completed)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var ids []cobra.Completion
		for _, r := range list {
			if wanted(r.Status) {
				ids = append(ids, cobra.CompletionWithDesc(r.ID, fmt.Sprintf("%s, %s of %s to %s", r.Status, r.Kind, r.Tenant, r.To)))
			}
		}
		return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// completed is how many runs are looked at to complete an id.
const completed = 50

func anyRun(failover.Status) bool { return true }

// body makes what the server is asked.
func (r *request) body(tenant string) (failover.TriggerRequest, error) {
	switch r.mode {
	case "", string(failover.Planned), string(failover.Forced):
	default:
		return failover.TriggerRequest{}, console.Usage("--mode: %q is neither planned nor forced", r.mode)
	}
	if r.maxLag < 0 {
		return failover.TriggerRequest{}, console.Usage("--max-lag: %s is negative", r.maxLag)
	}
	return failover.TriggerRequest{
		Tenant: tenant, Kind: r.kind, From: r.from, To: r.to, Mode: failover.Mode(r.mode), MaxLag: omni.Duration(r.maxLag),
	}, nil
}

// runTable is how a run's steps look to people.
func runTable(run failover.Run) console.Table {
	t := console.Table{
		Columns: []string{"LEVEL", "RESOURCE", "ACTION", "STATUS", "ATTEMPTS", "PREDICTED", "TOOK", "MESSAGE"},
		Wide:    []string{"STEP"},
		Names:   []string{run.ID},
	}
	for _, s := range run.Steps {
		message := s.Message
		if s.Error != "" && s.Status != failover.StepSucceeded {
			message = s.Error
		}
		t.Rows = append(t.Rows, []string{
			fmt.Sprint(s.Level), orDash(s.Resource), string(s.Action), string(s.Status), fmt.Sprint(s.Attempts),
			console.Millis(s.PredictedMS), console.Millis(s.DurationMS), message, s.ID,
		})
	}
	return t
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// headline says in a line what a run is and where it stands.
func headline(c *console.Console, run failover.Run) {
	c.Say("%s %s: %s of %s from %s to %s, %s, %s, started %s by %s", run.ID, run.Status, run.Kind, run.Tenant, run.From, run.To,
		run.Mode, run.Trigger, c.Ago(run.InitiatedAt), run.InitiatedBy)
	if run.Reason != "" {
		c.Say("reason: %s", run.Reason)
	}
	if run.Error != "" {
		c.Say("error: %s", run.Error)
	}
	if run.DNSSwitchedMS != nil {
		c.Say("DNS switched after %s", console.Millis(run.DNSSwitchedMS))
	}
}

// printRun writes a run: data for scripts; for people its headline and, unless the live view has shown them, its steps.
func printRun(c *console.Console, run failover.Run, shown bool) error {
	if c.Output == "table" || c.Output == "wide" {
		headline(c, run)
		if shown {
			return nil
		}
	}
	return c.Print(run, runTable(run))
}

// outcome turns where a run has come to rest into the exit code that scripts rely on.
func outcome(run failover.Run) error {
	switch run.Status {
	case failover.Succeeded:
		return nil
	case failover.RolledBack:
		return console.Exit(console.ExitRolledBack, "the run was rolled back: %s", run.Error)
	case failover.Paused:
		return console.Exit(console.ExitUnfinished, "the run is paused; go on with: omnictl failover resume %s, or end it with: omnictl failover abort %s", run.ID, run.ID)
	case failover.AwaitingApproval:
		return console.Exit(console.ExitUnfinished, "the run waits for approval: omnictl failover approve %s", run.ID)
	case failover.Running:
		return console.Exit(console.ExitUnfinished, "the run goes on; look again with: omnictl failover watch %s", run.ID)
	case failover.Failed, failover.Aborted:
	}
	return console.Exit(console.ExitFailed, "the run ended %s%s", run.Status, suffix(run.Error))
}

func suffix(s string) string {
	if s = strings.TrimSpace(s); s != "" {
		return ": " + s
	}
	return ""
}
