// Package billing holds the commands about what is used and owed.
package billing

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/services/billing"
)

// Command is "omnictl billing".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "billing", Short: "What is metered, by region, run and tenant"}
	cmd.AddCommand(newUsage(c))
	return cmd
}

func newUsage(c *console.Console) *cobra.Command {
	var f client.UsageFilter
	var intervals bool
	var limit int
	cmd := &cobra.Command{
		Use: "usage", Short: "Show metered usage, in whole base units", Args: cobra.NoArgs,
		Example: "  omnictl billing usage --tenant acme\n  omnictl billing usage --tenant acme --run run_01k… --intervals",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.CheckLimit(limit); err != nil {
				return err
			}
			api, err := c.Client()
			if err != nil {
				return err
			}
			report, err := api.Usage(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			if len(report.Items) == 0 {
				if err := c.CheckTenant(cmd.Context(), api, f.Tenant); err != nil {
					return err
				}
			}
			report.Items = report.Items[:min(len(report.Items), limit)]
			if intervals {
				return c.Print(report, intervalTable(report))
			}
			return c.Print(report, totalTable(report))
		},
	}
	flags := cmd.Flags()
	c.TenantFlag(cmd, &f.Tenant, "only this tenant's")
	flags.StringVar(&f.Region, "region", "", "only in this region")
	flags.StringVar(&f.Run, "run", "", "only what this run began or ended")
	flags.StringVar(&f.From, "from", "", "from then on (RFC 3339)")
	flags.StringVar(&f.To, "to", "", "until then, exclusive (RFC 3339)")
	flags.StringVar(&f.By, "by", "region", "what totals are grouped by: region, run, resource, role or tenant")
	flags.BoolVar(&intervals, "intervals", false, "show each interval instead of the totals")
	flags.IntVar(&limit, "limit", 1000, "at most so many intervals")
	return cmd
}

func totalTable(report billing.Report) console.Table {
	table := console.Table{Columns: []string{"GROUP", "QUANTITY", "UNIT"}, Empty: "Nothing was metered."}
	for _, t := range report.Totals {
		name := t.Region + t.Resource + t.Role + t.Run + t.Tenant
		if name == "" {
			name = "(none)"
		}
		table.Names = append(table.Names, name)
		table.Rows = append(table.Rows, []string{name, fmt.Sprint(t.Quantity), t.Unit})
	}
	return table
}

func intervalTable(report billing.Report) console.Table {
	table := console.Table{
		Columns: []string{"REGION", "RESOURCE", "ROLE", "FROM", "TO", "QUANTITY", "UNIT", "RUN"}, Wide: []string{"TENANT", "ENDED BY"}, Empty: "Nothing was metered.",
	}
	for _, r := range report.Items {
		end := "now"
		if r.EndedAt != nil {
			end = r.EndedAt.Format("15:04:05.000")
		}
		table.Rows = append(table.Rows, []string{
			r.Region, r.Resource, r.Role, r.StartedAt.Format("2006-01-02 15:04:05.000"), end, fmt.Sprint(r.Quantity), r.Unit, r.Run, r.Tenant, r.EndRun,
		})
	}
	return table
}
