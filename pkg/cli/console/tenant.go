package console

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// CheckTenant is asked where a list of what the tenant owns is empty: a misspelt name must not look like a tenant that owns nothing.
// "" is no tenant, and a key that may not see tenants is not told.
func (c *Console) CheckTenant(ctx context.Context, api *client.Client, name string) error {
	if name == "" {
		return nil
	}
	if _, err := api.Tenant(ctx, name); omni.Is(err, omni.CodeNotFound) {
		return err
	}
	return nil
}

// TenantFlag declares --tenant, which completes the names of tenants.
func (c *Console) TenantFlag(cmd *cobra.Command, into *string, usage string) {
	cmd.Flags().StringVar(into, "tenant", "", usage)
	_ = cmd.RegisterFlagCompletionFunc("tenant", func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return c.Tenants()(cmd, nil, typed)
	}) // the flag was declared above
}

// Tenants completes one argument, the name of a tenant.
func (c *Console) Tenants() cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := c.Client()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := api.Tenants(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, t := range list {
			names = append(names, t.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
