// Package audit holds the commands about the tamper-evident log.
package audit

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/audit"
)

// Command is "omnictl audit".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Read and verify who did what, and why"}
	cmd.AddCommand(newList(c), newVerify(c))
	return cmd
}

func newList(c *console.Console) *cobra.Command {
	var f client.AuditFilter
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List entries, newest first", Args: cobra.NoArgs,
		Example: "  omnictl audit list --tenant acme --action failover.\n  omnictl audit list --object failover/run_01k… --order oldest",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.CheckLimit(limit); err != nil {
				return err
			}
			api, err := c.Client()
			if err != nil {
				return err
			}
			entries, err := api.Audit(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			if len(entries) == 0 {
				if err := c.CheckTenant(cmd.Context(), api, f.Tenant); err != nil {
					return err
				}
			}
			entries = entries[:min(len(entries), limit)]
			table := console.Table{
				Columns: []string{"INDEX", "AT", "ACTOR", "ACTION", "OBJECT", "REASON"}, Wide: []string{"REQUEST", "HASH"}, Empty: "No entries.",
			}
			for _, e := range entries {
				table.Names = append(table.Names, e.ID)
				table.Rows = append(table.Rows, []string{fmt.Sprint(e.Index), e.At.Format("2006-01-02 15:04:05.000"), e.Actor, e.Action, e.Object, e.Reason, e.RequestID, e.Hash})
			}
			return c.Print(omni.Page[audit.Entry]{Items: entries}, table)
		},
	}
	flags := cmd.Flags()
	c.TenantFlag(cmd, &f.Tenant, "whose log; default: the platform's, or that of the key's tenant")
	flags.StringVar(&f.Action, "action", "", "noun.verb, or all below a noun: failover.")
	flags.StringVar(&f.Object, "object", "", "kind/name, or all of a kind: failover/")
	flags.StringVar(&f.Actor, "actor", "", "who did it")
	flags.StringVar(&f.Since, "since", "", "at or after (RFC 3339)")
	flags.StringVar(&f.Until, "until", "", "before (RFC 3339)")
	flags.StringVar(&f.Order, "order", "newest", "newest or oldest first")
	flags.IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}

func newVerify(c *console.Console) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "verify", Short: "Recompute the log from its records, and name the first bad entry", Args: cobra.NoArgs,
		Long: "Recomputes every hash of the log from the stored records and compares them with the stored tree and with the last\n" +
			"signed checkpoint. Exits with 1 and names the first bad entry when anything was changed, removed or cut off.",
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			report, err := api.VerifyAudit(cmd.Context(), tenant)
			if err != nil {
				return err
			}
			if tenant != "" && report.OK && report.Entries == 0 {
				return omni.Errorf(omni.CodeNotFound, "there is no log of a tenant %q", tenant).WithHint("omnictl tenants list shows the tenants")
			}
			if err := c.Print(report, verdicts(report)); err != nil {
				return err
			}
			if !report.OK {
				return console.Exit(console.ExitFailed, "the audit trail is not what was written")
			}
			return nil
		}),
	}
	c.TenantFlag(cmd, &tenant, "only this tenant's log")
	return cmd
}

// verdicts is how a report looks to people: a line a log.
func verdicts(report audit.Report) console.Table {
	logs := report.Logs
	if logs == nil {
		logs = []audit.Report{report}
	}
	table := console.Table{Columns: []string{"LOG", "ENTRIES", "VERDICT"}, Wide: []string{"ROOT"}, Empty: "There are no logs yet."}
	for _, l := range logs {
		name := l.Tenant
		if name == "" {
			name = "(platform)"
		}
		verdict := "intact"
		if l.FirstBad != nil {
			verdict = fmt.Sprintf("BAD at entry %d: %s", l.FirstBad.Index, l.FirstBad.Reason)
		}
		table.Names = append(table.Names, name)
		table.Rows = append(table.Rows, []string{name, fmt.Sprint(l.Entries), verdict, l.Root})
	}
	return table
}
