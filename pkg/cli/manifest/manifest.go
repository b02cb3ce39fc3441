// Package manifest holds the commands that describe what there is: apply, diff, get, describe, delete, explain.
package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// Commands are the verbs, which stand at the top of omnictl.
func Commands(c *console.Console) []*cobra.Command {
	return []*cobra.Command{newApply(c), newDiff(c), newGet(c), newDescribe(c), newDelete(c), newExplain(c)}
}

// kindOf finds a kind by what the user typed: its name or plural, or the plural without its s, in any case.
func kindOf(ctx context.Context, api *client.Client, typed string) (config.KindInfo, error) {
	kinds, err := api.Kinds(ctx)
	if err != nil {
		return config.KindInfo{}, err
	}
	var names []string
	for _, k := range kinds {
		for _, name := range []string{k.Name, k.Plural, strings.TrimSuffix(k.Plural, "s"), singular(k.Plural)} {
			if strings.EqualFold(name, typed) {
				return k, nil
			}
		}
		names = append(names, k.Plural)
	}
	return config.KindInfo{}, console.Usage("there is no kind %q; there are %s", typed, strings.Join(names, ", "))
}

func singular(plural string) string {
	if stem, ok := strings.CutSuffix(plural, "ies"); ok {
		return stem + "y"
	}
	return plural
}

// completeKinds completes the names of kinds.
func completeKinds(c *console.Console) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := c.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if len(args) > 0 {
			return completeNames(cmd, api, args)
		}
		kinds, err := api.Kinds(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var out []cobra.Completion
		for _, k := range kinds {
			out = append(out, cobra.CompletionWithDesc(k.Plural, k.Doc))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNames completes the name of an object of the kind that args begins with.
func completeNames(cmd *cobra.Command, api *client.Client, args []string) ([]cobra.Completion, cobra.ShellCompDirective) {
	kind, err := kindOf(cmd.Context(), api, args[0])
	if err != nil || len(args) > 1 || cmd.Flags().Lookup("tenant") == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	objects, err := api.Objects(cmd.Context(), kind.Plural, cmd.Flags().Lookup("tenant").Value.String())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return table(kind, objects).Names, cobra.ShellCompDirectiveNoFileComp
}

// row is what a list shows of an object, of whichever kind.
type row struct {
	Name     string `json:"name"`
	Tenant   string `json:"tenant"`
	Version  int64  `json:"version"`
	Type     string `json:"type"`     // of a resource
	Serving  string `json:"serving"`  // of a resource
	Cordoned bool   `json:"cordoned"` // of a region
	Display  string `json:"display_name"`
	Currency string `json:"billing_currency"`
	Spec     struct {
		Domain  string            `json:"domain"`
		Records []json.RawMessage `json:"records"`
		Zones   []json.RawMessage `json:"zones"`
		Primary string            `json:"primary"`
		Targets []string          `json:"targets"`
	} `json:"spec"`
}

// detail says in a few words what the object is.
func (r row) detail() string {
	var words []string
	add := func(when bool, format string, args ...any) {
		if when {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(r.Type != "", "%s", r.Type)
	add(r.Serving != "", "serving in %s", r.Serving)
	add(len(r.Spec.Zones) > 0, "%d zones", len(r.Spec.Zones))
	add(r.Cordoned, "cordoned")
	add(r.Display != "", "%s", r.Display)
	add(r.Currency != "", "billed in %s", r.Currency)
	add(r.Spec.Primary != "", "from %s to %s", r.Spec.Primary, strings.Join(r.Spec.Targets, ", "))
	add(r.Spec.Domain != "", "%s with %d record sets", strings.TrimSuffix(r.Spec.Domain, "."), len(r.Spec.Records))
	return strings.Join(words, " ")
}

func table(kind config.KindInfo, objects []json.RawMessage) console.Table {
	t := console.Table{Columns: []string{"NAME", "TENANT", "DETAIL"}, Wide: []string{"VERSION"}, Empty: "No " + kind.Plural + "."}
	for _, raw := range objects {
		var r row
		if json.Unmarshal(raw, &r) != nil {
			continue // what is no object has no row; -o json shows it
		}
		t.Names = append(t.Names, r.Name)
		version, _ := json.Marshal(r.Version) // an int64 always can
		t.Rows = append(t.Rows, []string{r.Name, r.Tenant, r.detail(), string(version)})
	}
	return t
}

func newGet(c *console.Console) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "get KIND [NAME]", Short: "List the objects of a kind, or show one", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: completeKinds(c),
		Example: "  omnictl get regions\n  omnictl get resources --tenant acme\n  omnictl get resource orders-db --tenant acme -o yaml",
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			kind, err := kindOf(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				object, err := api.Object(cmd.Context(), kind.Plural, tenant, args[1])
				if err != nil {
					return err
				}
				return c.Print(object, table(kind, []json.RawMessage{object}))
			}
			objects, err := api.Objects(cmd.Context(), kind.Plural, tenant)
			if err != nil {
				return err
			}
			if len(objects) == 0 {
				if err := c.CheckTenant(cmd.Context(), api, tenant); err != nil {
					return err
				}
			}
			return c.Print(omni.Page[json.RawMessage]{Items: objects}, table(kind, objects))
		}),
	}
	c.TenantFlag(cmd, &tenant, "whose; needed for kinds that belong to tenants, unless the key is a tenant's")
	return cmd
}

func newDescribe(c *console.Console) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "describe KIND NAME", Short: "Show everything about one object", Args: cobra.ExactArgs(2), ValidArgsFunction: completeKinds(c),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			kind, err := kindOf(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			object, err := api.Object(cmd.Context(), kind.Plural, tenant, args[1])
			if err != nil {
				return err
			}
			if c.Output == "table" || c.Output == "wide" {
				c.Output = "yaml"
			}
			return c.PrintData(object)
		}),
	}
	c.TenantFlag(cmd, &tenant, "whose")
	return cmd
}

func newDelete(c *console.Console) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "delete KIND NAME", Short: "Remove an object that nothing else needs", Args: cobra.ExactArgs(2), ValidArgsFunction: completeKinds(c),
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			kind, err := kindOf(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			if err := c.ConfirmYes("delete " + strings.ToLower(kind.Name) + " " + args[1]); err != nil {
				return err
			}
			if err := api.DeleteObject(cmd.Context(), kind.Plural, tenant, args[1]); err != nil {
				return err
			}
			c.Say("%s %s deleted", strings.ToLower(kind.Name), args[1])
			return nil
		}),
	}
	c.TenantFlag(cmd, &tenant, "whose")
	return cmd
}

func newExplain(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "explain KIND[.FIELD…]", Short: "Explain what a manifest can say", Args: cobra.ExactArgs(1), ValidArgsFunction: completeKinds(c),
		Example: "  omnictl explain policies\n  omnictl explain resource.spec.placements",
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, args []string) error {
			typed, field, _ := strings.Cut(args[0], ".")
			kind, err := kindOf(cmd.Context(), api, typed)
			if err != nil {
				return err
			}
			out, err := api.Explain(cmd.Context(), kind.Plural, field)
			if err != nil {
				return err
			}
			if c.Output != "table" && c.Output != "wide" {
				return c.PrintData(out)
			}
			c.Say("%s (%s): %s", out.Name, out.APIVersion, out.Doc)
			if out.Path != "" {
				c.Say("%s (%s): %s", out.Path, out.Type, out.FieldDoc)
			}
			t := console.Table{Columns: []string{"FIELD", "TYPE", "", "MEANING"}}
			fieldRows(out.Fields, &t)
			return c.Print(out, t)
		}),
	}
}

func fieldRows(fields []config.FieldInfo, t *console.Table) {
	for _, f := range fields {
		needed := ""
		if f.Required {
			needed = "required"
		}
		t.Rows = append(t.Rows, []string{f.Path, f.Type, needed, f.Doc})
		fieldRows(f.Fields, t)
	}
}
