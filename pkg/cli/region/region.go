// Package region holds the commands about regions.
package region

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Command is "omnictl regions".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "regions", Aliases: []string{"region"}, Short: "Look at regions, and keep failovers away from them"}
	cmd.AddCommand(newList(c), newShow(c), newHealth(c), newCordon(c), newUncordon(c))
	return cmd
}

// Names completes the names of regions.
func Names(c *console.Console) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := c.Client()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		regions, err := api.Regions(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, r := range regions {
			names = append(names, r.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// judged is a region with its verdict, as the list shows it.
type judged struct {
	infra.Region
	Health failover.Verdict `json:"health"`
}

func newList(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List regions with their health",
		Args:  cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			regions, err := api.Regions(cmd.Context())
			if err != nil {
				return err
			}
			items := []judged{}
			table := console.Table{
				Columns: []string{"NAME", "HEALTH", "SINCE", "ZONES", "CORDONED"}, Wide: []string{"WHY"},
				Empty: "No regions yet: omnictl apply -f examples/shop/manifests",
			}
			for _, r := range regions {
				verdict, err := api.RegionHealth(cmd.Context(), r.Name)
				if err != nil {
					return err
				}
				items = append(items, judged{r, verdict})
				table.Names = append(table.Names, r.Name)
				table.Rows = append(table.Rows, []string{
					r.Name, string(verdict.Health), c.Ago(verdict.Since), zones(verdict), cordoned(r), verdict.Reason,
				})
			}
			return c.Print(omni.Page[judged]{Items: items}, table)
		}),
	}
}

func zones(v failover.Verdict) string {
	up := 0
	for _, vote := range v.Votes {
		if vote.Health == failover.Up {
			up++
		}
	}
	return fmt.Sprintf("%d/%d up", up, len(v.Votes))
}

func cordoned(r infra.Region) string {
	switch {
	case !r.Cordoned:
		return "no"
	case r.CordonReason != "":
		return "yes: " + r.CordonReason
	}
	return "yes"
}

func newShow(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "show REGION", Short: "Show a region with its zones and probes", Args: cobra.ExactArgs(1), ValidArgsFunction: Names(c),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			region, err := api.Region(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			table := console.Table{Columns: []string{"ZONE", "PROBE", "TYPE", "TARGET", "INTERVAL", "TIMEOUT"}, Names: []string{region.Name}}
			for _, z := range region.Spec.Zones {
				for _, p := range z.Probes {
					target := p.Target
					if target == "" {
						target = strings.Join(p.Command, " ")
					}
					table.Rows = append(table.Rows, []string{z.Name, p.Name, string(p.Type), target, p.Interval.String(), p.Timeout.String()})
				}
			}
			if c.Output == "table" || c.Output == "wide" {
				c.Say("%s: %s, cordoned: %s", region.Name, region.Spec.DisplayName, cordoned(region))
			}
			return c.Print(region, table)
		}),
	}
}

func newHealth(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "health REGION", Short: "Judge a region now, and show how its zones vote", Args: cobra.ExactArgs(1), ValidArgsFunction: Names(c),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			verdict, err := api.RegionHealth(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			table := console.Table{Columns: []string{"ZONE", "VOTE", "PROBES DOWN", "EVIDENCE"}, Names: []string{verdict.Region}}
			for _, v := range verdict.Votes {
				table.Rows = append(table.Rows, []string{v.Zone, string(v.Health), fmt.Sprintf("%d of %d", v.Down, v.Probes), strings.Join(v.Evidence, "; ")})
			}
			if c.Output == "table" || c.Output == "wide" {
				c.Say("%s is %s since %s: %s", verdict.Region, verdict.Health, c.Ago(verdict.Since), verdict.Reason)
			}
			return c.Print(verdict, table)
		}),
	}
}

func newCordon(c *console.Console) *cobra.Command {
	var reason string
	cmd := changing(c, "cordon", "Keep failovers away from a region", func(ctx context.Context, api *client.Client, name string) (infra.Region, error) {
		return api.Cordon(ctx, name, reason)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why; shown to everybody who asks")
	return cmd
}

func newUncordon(c *console.Console) *cobra.Command {
	return changing(c, "uncordon", "Let failovers into a region again", func(ctx context.Context, api *client.Client, name string) (infra.Region, error) {
		return api.Uncordon(ctx, name)
	})
}

func changing(c *console.Console, verb, short string, change func(context.Context, *client.Client, string) (infra.Region, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " REGION", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: Names(c),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			region, err := change(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			return c.Print(region, console.Table{
				Columns: []string{"NAME", "CORDONED"}, Names: []string{region.Name}, Rows: [][]string{{region.Name, cordoned(region)}},
			})
		}),
	}
}
