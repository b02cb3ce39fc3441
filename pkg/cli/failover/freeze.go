package failover

import (
	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
)

func newFreeze(c *console.Console) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "freeze", Short: "Keep runs from starting by themselves, everywhere; manual ones still start", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.ConfirmYes("keep every tenant where it is, whatever happens to its region"); err != nil {
				return err
			}
			api, err := c.Client()
			if err != nil {
				return err
			}
			state, err := api.Freeze(cmd.Context(), reason)
			if err != nil {
				return err
			}
			return printFreeze(c, state)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; shown to everybody who asks")
	return cmd
}

func newUnfreeze(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "unfreeze", Short: "Let runs start by themselves again", Args: cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			state, err := api.Unfreeze(cmd.Context())
			if err != nil {
				return err
			}
			return printFreeze(c, state)
		}),
	}
}

func printFreeze(c *console.Console, f failover.Freeze) error {
	state, since := "runs start by themselves", "–"
	if f.Since != nil {
		since = c.Ago(*f.Since)
	}
	if f.Frozen {
		state = "frozen"
	}
	return c.Print(f, console.Table{Columns: []string{"AUTOMATION", "SINCE", "BY", "REASON"}, Rows: [][]string{{state, since, f.By, f.Reason}}})
}
