// Package event holds the commands about the stream of events.
package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// Command is "omnictl events".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "events", Short: "Read what happens, as it happens"}
	cmd.AddCommand(newTail(c))
	return cmd
}

// errEnough ends the stream after --count events.
var errEnough = errors.New("enough")

func newTail(c *console.Console) *cobra.Command {
	var r client.StreamRequest
	var count int
	cmd := &cobra.Command{
		Use:     "tail",
		Short:   "Print events until Ctrl-C; a broken connection is taken up again without a gap",
		Example: "  omnictl events tail --topics failover,region\n  omnictl events tail --since 0 --count 10 -o jsonl",
		Args:    cobra.NoArgs,
		RunE: c.Asking(func(cmd *cobra.Command, api *client.Client, _ []string) error {
			seen := 0
			err := api.Stream(cmd.Context(), r, func(id string, e events.Event) error {
				seen++
				if err := printEvent(c, id, e); err != nil {
					return err
				}
				if count > 0 && seen >= count {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) || errors.Is(err, context.DeadlineExceeded) || errors.Is(cmd.Context().Err(), context.DeadlineExceeded) {
				return nil // --timeout is how long to look
			}
			return err
		}),
	}
	flags := cmd.Flags()
	c.TenantFlag(cmd, &r.Tenant, "only this tenant's")
	flags.StringSliceVar(&r.Topics, "topics", nil, "only types that begin so, such as failover, region or audit")
	flags.StringVar(&r.After, "since", "", "begin behind the event with this stream id; 0 is the oldest that is kept")
	flags.IntVar(&count, "count", 0, "end after so many")
	return cmd
}

func printEvent(c *console.Console, id string, e events.Event) error {
	switch {
	case c.Output == "name":
		_, err := fmt.Fprintln(c.Out, e.ID)
		return err
	case c.JQ != "":
		return c.PrintData(e)
	case c.Output == "yaml":
		if _, err := fmt.Fprintln(c.Out, "---"); err != nil {
			return err
		}
		return c.PrintData(e)
	case c.Output == "json" || c.Output == "jsonl": // a line each, since a stream has no end that could close a list
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.Out, "%s\n", line)
		return err
	}
	data := string(e.Data)
	if r := []rune(data); c.Output == "table" && len(r) > 160 {
		data = string(r[:160]) + "…"
	}
	tenant := e.Tenant
	if tenant == "" {
		tenant = "–"
	}
	_, err := fmt.Fprintf(c.Out, "%s  %s  %-28s %-10s %s  %s\n", id, e.Time.Format("15:04:05.000"), strings.TrimPrefix(e.Type, "omni."), tenant, e.Subject, data)
	return err
}
