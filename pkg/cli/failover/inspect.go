package failover

import (
	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

func newStatus(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use:   "status RUN",
		Short: "Show a run and its steps",
		Args:  cobra.ExactArgs(1), ValidArgsFunction: completeRuns(c, anyRun),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			run, err := api.Failover(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printRun(c, run, false)
		}),
	}
}

func newWatch(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run until it ends; Ctrl-C leaves it alone",
		Args:  cobra.ExactArgs(1), ValidArgsFunction: completeRuns(c, failover.Status.Alive),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			run, err := Follow(cmd.Context(), c, api, args[0])
			if err != nil {
				return err
			}
			if err := printRun(c, run, true); err != nil {
				return err
			}
			return outcome(run)
		}),
	}
}

func newList(c *console.Console) *cobra.Command {
	var tenant, status string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.CheckLimit(limit); err != nil {
				return err
			}
			api, err := c.Client()
			if err != nil {
				return err
			}
			runs, err := api.Failovers(cmd.Context(), tenant, status, limit)
			if err != nil {
				return err
			}
			if len(runs) == 0 {
				if err := c.CheckTenant(cmd.Context(), api, tenant); err != nil {
					return err
				}
			}
			runs = runs[:min(len(runs), limit)]
			table := console.Table{
				Columns: []string{"ID", "TENANT", "KIND", "FROM", "TO", "STATUS", "TRIGGER", "STARTED", "TOOK", "DNS AFTER"},
				Wide:    []string{"MODE", "BY", "REASON"},
				Empty:   "No runs yet.",
			}
			for _, r := range runs {
				table.Names = append(table.Names, r.ID)
				table.Rows = append(table.Rows, []string{
					r.ID, r.Tenant, string(r.Kind), r.From, r.To, string(r.Status), r.Trigger, c.Ago(r.InitiatedAt),
					console.Millis(r.DurationMS), console.Millis(r.DNSSwitchedMS), string(r.Mode), r.InitiatedBy, r.Reason,
				})
			}
			return c.Print(omni.Page[failover.Run]{Items: runs}, table)
		},
	}
	c.TenantFlag(cmd, &tenant, "only this tenant's")
	cmd.Flags().StringVar(&status, "status", "", "only runs in this state")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]cobra.Completion{
		string(failover.AwaitingApproval), string(failover.Running), string(failover.Paused), string(failover.Succeeded), string(failover.Failed),
		string(failover.Aborted), string(failover.RolledBack),
	}, cobra.ShellCompDirectiveNoFileComp)) // declared above
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}
