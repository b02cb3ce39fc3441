package failover

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
)

func newPlan(c *console.Console, kind failover.Kind) *cobra.Command {
	r := &request{kind: kind}
	cmd := &cobra.Command{
		Use:   "plan TENANT",
		Short: "Say what a " + string(kind) + " would do, how long it would take and what is at risk",
		Args:  cobra.ExactArgs(1),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			body, err := r.body(args[0])
			if err != nil {
				return err
			}
			plan, err := api.Plan(cmd.Context(), body)
			if err != nil {
				return err
			}
			return printPlan(c, plan)
		}),
	}
	r.flags(c, cmd)
	return cmd
}

func printPlan(c *console.Console, plan failover.Plan) error {
	table := console.Table{Columns: []string{"LEVEL", "RESOURCE", "ACTION", "PREDICTED"}, Wide: []string{"STEP"}, Names: []string{plan.Hash}}
	for _, s := range plan.Steps {
		table.Rows = append(table.Rows, []string{fmt.Sprint(s.Level), orDash(s.Resource), string(s.Action), console.Millis(s.PredictedMS), s.ID})
	}
	if err := c.Print(plan, table); err != nil {
		return err
	}
	if c.Output != "table" && c.Output != "wide" {
		return nil
	}
	c.Say("%s of %s from %s to %s, %s; %d steps; predicted %s", plan.Kind, plan.Tenant, plan.From, plan.To, plan.Mode, len(plan.Steps), console.Millis(plan.PredictedMS))
	for _, d := range plan.DNS {
		c.Say("DNS %s %s: %v → %v", d.Name, d.Type, d.From, d.To)
	}
	for _, risk := range plan.AtRisk {
		line := "at risk: " + risk.Resource
		if risk.LagSeconds != nil {
			line += fmt.Sprintf(", %.1fs behind", *risk.LagSeconds)
		}
		if risk.LagBytes != nil {
			line += fmt.Sprintf(", %d bytes behind", *risk.LagBytes)
		}
		c.Say("%s", line)
	}
	for _, w := range plan.Warnings {
		c.Say("note: %s", w)
	}
	for _, r := range plan.RefusedBy {
		c.Say("a trigger would be refused now: %s", r.Reason)
	}
	c.Say("plan %s: pin it with --plan when you trigger", plan.Hash)
	return nil
}
