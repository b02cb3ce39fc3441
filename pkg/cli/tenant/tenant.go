// Package tenant holds the commands about tenants.
package tenant

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/tenants"
)

// Command is "omnictl tenants".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "tenants", Aliases: []string{"tenant"}, Short: "Create, list, change and delete tenants"}
	cmd.AddCommand(newCreate(c), newList(c), newShow(c), newUpdate(c), newDelete(c))
	return cmd
}

func table(c *console.Console, list ...tenants.Tenant) console.Table {
	t := console.Table{Columns: []string{"NAME", "DISPLAY NAME", "CURRENCY", "CREATED"}, Wide: []string{"VERSION"}, Empty: "No tenants yet."}
	for _, one := range list {
		t.Names = append(t.Names, one.Name)
		t.Rows = append(t.Rows, []string{one.Name, one.DisplayName, one.BillingCurrency, c.Ago(one.CreatedAt), fmt.Sprint(one.Version)})
	}
	return t
}

// fields are the flags of create and update.
type fields struct{ display, currency string }

func (f *fields) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.display, "display-name", "", "what people call it")
	cmd.Flags().StringVar(&f.currency, "currency", "", "ISO 4217 code that it is billed in; default USD")
}

// set gives only the fields that were given.
func (f *fields) set(cmd *cobra.Command, name string) client.TenantFields {
	out := client.TenantFields{Name: name}
	if cmd.Flags().Changed("display-name") {
		out.DisplayName = &f.display
	}
	if cmd.Flags().Changed("currency") {
		out.BillingCurrency = &f.currency
	}
	return out
}

func newCreate(c *console.Console) *cobra.Command {
	var f fields
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a tenant", Args: cobra.ExactArgs(1),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			t, err := api.CreateTenant(cmd.Context(), f.set(cmd, args[0]))
			if err != nil {
				return err
			}
			return c.Print(t, table(c, t))
		}),
	}
	f.flags(cmd)
	return cmd
}

func newList(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tenants", Args: cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			list, err := api.Tenants(cmd.Context())
			if err != nil {
				return err
			}
			return c.Print(omni.Page[tenants.Tenant]{Items: list}, table(c, list...))
		}),
	}
}

func newShow(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a tenant", Args: cobra.ExactArgs(1), ValidArgsFunction: c.Tenants(),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			t, err := api.Tenant(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.Print(t, table(c, t))
		}),
	}
}

func newUpdate(c *console.Console) *cobra.Command {
	var f fields
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a tenant", Args: cobra.ExactArgs(1), ValidArgsFunction: c.Tenants(),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			t, err := api.UpdateTenant(cmd.Context(), args[0], f.set(cmd, ""))
			if err != nil {
				return err
			}
			return c.Print(t, table(c, t))
		}),
	}
	f.flags(cmd)
	return cmd
}

func newDelete(c *console.Console) *cobra.Command {
	var cascade bool
	var confirm string
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a tenant, which must own nothing unless --cascade", Args: cobra.ExactArgs(1), ValidArgsFunction: c.Tenants(),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			what := "delete tenant " + args[0]
			if cascade {
				what += " and everything that it owns"
			}
			if err := c.ConfirmName(args[0], confirm, what); err != nil {
				return err
			}
			if err := api.DeleteTenant(cmd.Context(), args[0], cascade); err != nil {
				return err
			}
			c.Say("tenant %s deleted", args[0])
			return nil
		}),
	}
	cmd.Flags().BoolVar(&cascade, "cascade", false, "also remove everything that it owns")
	cmd.Flags().StringVar(&confirm, "confirm", "", "the tenant's name, instead of typing it")
	return cmd
}
