package failover

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

func newTrigger(c *console.Console, kind failover.Kind) *cobra.Command {
	r := &request{kind: kind}
	var plan, reason, confirm string
	var dryRun, wait bool
	cmd := &cobra.Command{
		Use:   "trigger TENANT",
		Short: "Start a " + string(kind),
		Args:  cobra.ExactArgs(1),
		Example: "  omnictl failover plan acme --from us-east-1 --to eu-west-1\n" +
			"  omnictl failover trigger acme --from us-east-1 --to eu-west-1 --wait --confirm acme",
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			tenant := args[0]
			body, err := r.body(tenant)
			if err != nil {
				return err
			}
			body.PlanHash, body.Reason = plan, reason
			if dryRun {
				p, err := api.Plan(cmd.Context(), body)
				if err != nil {
					return err
				}
				if err := printPlan(c, p); err != nil {
					return err
				}
				if len(p.RefusedBy) > 0 { // the exit code that the trigger itself would have
					r := p.RefusedBy[0]
					return omni.Errorf(r.Code, "%s", r.Reason).WithHint("%s", r.Hint)
				}
				return nil
			}
			what := fmt.Sprintf("move %s from %s to %s", tenant, orWord(r.from, "where it is"), orWord(r.to, "its primary region"))
			if err := c.ConfirmName(tenant, confirm, what); err != nil {
				return err
			}
			body.Confirm = tenant
			return start(cmd.Context(), c, api, body, wait)
		}),
	}
	r.flags(c, cmd)
	flags := cmd.Flags()
	flags.StringVar(&plan, "plan", "", "hash of the plan that was looked at; a changed world then refuses")
	flags.StringVar(&reason, "reason", "", "why; kept in the audit trail, and needed to force past a guard")
	flags.BoolVar(&dryRun, "dry-run", false, "show the plan and do nothing")
	flags.BoolVar(&wait, "wait", false, "follow the run to its end; the exit code then says how it went")
	flags.StringVar(&confirm, "confirm", "", "the tenant's name, instead of typing it")
	return cmd
}

// start triggers the run and, if it is to be waited for, follows it to its end.
func start(ctx context.Context, c *console.Console, api *client.Client, body failover.TriggerRequest, wait bool) error {
	run, err := api.Trigger(ctx, body)
	if err != nil {
		if ctx.Err() != nil { // the request may have arrived, and its answer not
			c.Say("It is not known whether the run began. Look: omnictl failover list --tenant %s", body.Tenant)
		}
		return err
	}
	c.Say("%s", run.ID) // before anything is waited for, so that nobody loses the run
	if !wait {
		return printRun(c, run, false)
	}
	if run, err = Follow(ctx, c, api, run.ID); err != nil {
		return err
	}
	if err := printRun(c, run, true); err != nil {
		return err
	}
	return outcome(run)
}

func orWord(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
