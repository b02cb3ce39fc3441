// Package server holds the commands about omnid itself.
package server

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

func asError(err error, target **omni.Error) bool { return errors.As(err, target) }

// Version is "omnictl version".
func Version(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say the version of omnictl, and of omnid when it answers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			versions := map[string]string{"omnictl": c.Version}
			rows := [][]string{{"omnictl", c.Version}}
			if api, err := c.Client(); err == nil {
				if services, err := api.Services(cmd.Context()); err == nil && len(services) > 0 {
					versions["omnid"] = services[0].Version
					rows = append(rows, []string{"omnid", services[0].Version})
				}
			}
			return c.Print(versions, console.Table{Columns: []string{"PROGRAM", "VERSION"}, Rows: rows, Names: []string{c.Version}})
		},
	}
}

// Status is "omnictl status".
func Status(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the fifteen services, and who leads", Args: cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			services, err := api.Services(cmd.Context())
			if err != nil {
				return err
			}
			table := console.Table{Columns: []string{"SERVICE", "STATUS", "LEADER", "UPTIME"}, Wide: []string{"VERSION", "MESSAGE"}}
			for _, s := range services {
				table.Names = append(table.Names, s.Name)
				table.Rows = append(table.Rows, []string{s.Name, s.Status, s.Leader, fmt.Sprintf("%.0fs", s.UptimeSeconds), s.Version, s.Message})
			}
			return c.Print(omni.Page[client.Service]{Items: services}, table)
		}),
	}
}
