package failover

import (
	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
)

func newControl(c *console.Console, verb, short string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   verb + " RUN",
		Short: short,
		Args:  cobra.ExactArgs(1), ValidArgsFunction: completeRuns(c, failover.Status.Alive),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			if verb == "abort" {
				if err := c.ConfirmYes("end run " + args[0] + " where it is, with some resources moved and others not"); err != nil {
					return err
				}
			}
			run, err := api.ControlFailover(cmd.Context(), args[0], verb, reason)
			if err != nil {
				return err
			}
			if (verb == "abort" || verb == "pause") && run.Status.Alive() {
				c.Say("what is at work now ends first; look on with: omnictl failover watch %s", run.ID)
			}
			return printRun(c, run, false)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept in the audit trail")
	return cmd
}
