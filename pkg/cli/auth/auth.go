// Package auth holds the commands about keys and what they may do.
package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/auth"
)

// Command is "omnictl auth".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "auth", Short: "Keys, roles, and what yours may do"}
	keys := &cobra.Command{Use: "keys", Aliases: []string{"key"}, Short: "Create, list, rotate and revoke API keys"}
	keys.AddCommand(newCreate(c), newList(c), newRotate(c), newRevoke(c))
	roles := &cobra.Command{Use: "roles", Short: "Look at the roles that keys can have"}
	roles.AddCommand(newRoles(c))
	cmd.AddCommand(newWhoAmI(c), keys, roles)
	return cmd
}

func newWhoAmI(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Say who your key is, and what it may do", Args: cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			who, err := api.WhoAmI(cmd.Context())
			if err != nil {
				return err
			}
			table := console.Table{Columns: []string{"PERMISSION", "FROM ROLE"}, Names: []string{who.Actor}}
			for _, g := range who.Permissions {
				table.Rows = append(table.Rows, []string{g.Permission, g.From})
			}
			if c.Output == "table" || c.Output == "wide" {
				of := "the platform"
				if who.Tenant != "" {
					of = "tenant " + who.Tenant
				}
				c.Say("%s of %s, with the roles %s", who.Actor, of, strings.Join(who.Roles, ", "))
			}
			return c.Print(who, table)
		}),
	}
}

func newCreate(c *console.Console) *cobra.Command {
	var r client.KeyRequest
	var expires time.Duration
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a key; its token is shown this once", Args: cobra.ExactArgs(1),
		Example: "  omnictl auth keys create ci --tenant acme --role operator --expires 2160h",
		RunE: func(cmd *cobra.Command, args []string) error {
			if expires < 0 {
				return console.Usage("--expires: %s is negative", expires)
			}
			api, err := c.Client()
			if err != nil {
				return err
			}
			r.Name = args[0]
			if expires > 0 {
				r.ExpiresIn = expires.String() // by the server's clock
			}
			key, err := api.CreateKey(cmd.Context(), r)
			if err != nil {
				return err
			}
			return printToken(c, key)
		},
	}
	flags := cmd.Flags()
	c.TenantFlag(cmd, &r.Tenant, "the only tenant that it may see; default: the platform")
	flags.StringSliceVar(&r.Roles, "role", []string{"viewer"}, "what it may do; omnictl auth roles list")
	flags.DurationVar(&expires, "expires", 0, "valid for this long; 0 is until revoked")
	return cmd
}

// printToken writes only the token to stdout, so that it can be sent into a file.
func printToken(c *console.Console, key auth.NewKey) error {
	if c.Output != "table" && c.Output != "wide" && c.Output != "name" {
		return c.PrintData(key)
	}
	c.Say("key %s (%s); the token below is shown only now:", key.ID, key.Name)
	_, err := fmt.Fprintln(c.Out, key.Token)
	return err
}

func newList(c *console.Console) *cobra.Command {
	var tenant string
	var revoked bool
	cmd := &cobra.Command{
		Use: "list", Short: "List keys, without their tokens", Args: cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			keys, err := api.Keys(cmd.Context(), tenant, revoked)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				if err := c.CheckTenant(cmd.Context(), api, tenant); err != nil {
					return err
				}
			}
			table := console.Table{Columns: []string{"ID", "NAME", "TENANT", "ROLES", "LAST USED", "EXPIRES", "REVOKED"}, Wide: []string{"BY"}, Empty: "No keys."}
			for _, k := range keys {
				table.Names = append(table.Names, k.ID)
				table.Rows = append(table.Rows, []string{
					k.ID, k.Name, k.Tenant, strings.Join(k.Roles, ","), ago(c, k.LastUsedAt), ago(c, k.ExpiresAt), ago(c, k.RevokedAt), k.CreatedBy,
				})
			}
			return c.Print(omni.Page[auth.Key]{Items: keys}, table)
		}),
	}
	c.TenantFlag(cmd, &tenant, "only this tenant's")
	cmd.Flags().BoolVar(&revoked, "revoked", false, "also those that are revoked")
	return cmd
}

func ago(c *console.Console, t *time.Time) string {
	if t == nil {
		return "–"
	}
	return c.Ago(*t)
}

// completeKeys completes the ids of keys, each with its name.
func completeKeys(c *console.Console) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := c.Client()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		keys, err := api.Keys(cmd.Context(), "", false)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var ids []cobra.Completion
		for _, k := range keys {
			ids = append(ids, cobra.CompletionWithDesc(k.ID, k.Name))
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}

func newRotate(c *console.Console) *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{
		Use: "rotate ID", Short: "Give a key a new token; the old one stays valid for a while", Args: cobra.ExactArgs(1), ValidArgsFunction: completeKeys(c),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			given := ""
			if cmd.Flags().Changed("overlap") {
				given = overlap.String()
			}
			key, err := api.RotateKey(cmd.Context(), args[0], given)
			if err != nil {
				return err
			}
			return printToken(c, key)
		}),
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old token stays valid; 0 ends it at once")
	return cmd
}

func newRevoke(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "End a key at once", Args: cobra.ExactArgs(1), ValidArgsFunction: completeKeys(c),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			if err := c.ConfirmYes("end key " + args[0] + " for everybody who uses it"); err != nil {
				return err
			}
			if err := api.RevokeKey(cmd.Context(), args[0]); err != nil {
				return err
			}
			c.Say("key %s revoked", args[0])
			return nil
		}),
	}
}

func newRoles(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the roles", Args: cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			roles, err := api.Roles(cmd.Context())
			if err != nil {
				return err
			}
			table := console.Table{Columns: []string{"NAME", "INHERITS", "DESCRIPTION"}, Wide: []string{"PERMISSIONS"}}
			for _, r := range roles {
				table.Names = append(table.Names, r.Name)
				table.Rows = append(table.Rows, []string{r.Name, strings.Join(r.Inherits, ","), r.Description, strings.Join(r.Permissions, " ")})
			}
			return c.Print(omni.Page[auth.Role]{Items: roles}, table)
		}),
	}
}
