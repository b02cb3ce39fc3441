// Package dns holds the commands about names.
package dns

import (
	"context"
	"errors"
	"net"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Command is "omnictl dns".
func Command(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{Use: "dns", Short: "Ask the authoritative server what it answers"}
	cmd.AddCommand(newQuery(c))
	return cmd
}

// answer is what the server said.
type answer struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Server string   `json:"server"`
	Values []string `json:"values"`
}

func newQuery(c *console.Console) *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use: "query NAME [A|AAAA|CNAME|TXT|NS]", Short: "Ask for a name over the wire, as any client would", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			typ := "A"
			if len(args) == 2 {
				typ = strings.ToUpper(args[1])
			}
			if server == "" {
				server = c.Environ("OMNI_DNS")
			}
			if server == "" {
				server = "127.0.0.1:8053"
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			values, err := query(ctx, server, args[0], typ)
			if err != nil {
				return err
			}
			table := console.Table{Columns: []string{"NAME", "TYPE", "VALUE"}, Names: values, Empty: "No such record."}
			for _, v := range values {
				table.Rows = append(table.Rows, []string{args[0], typ, v})
			}
			return c.Print(answer{Name: args[0], Type: typ, Server: server, Values: values}, table)
		},
	}
	cmd.Flags().StringVar(&server, "dns", "", "HOST:PORT of the server [OMNI_DNS] (default 127.0.0.1:8053)")
	return cmd
}

// query asks one server, and no other.
func query(ctx context.Context, server, name, typ string) (values []string, err error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, server)
	}}
	name = strings.TrimSuffix(name, ".") + "." // whole: no search domains
	switch typ {
	case "A", "AAAA":
		network := map[string]string{"A": "ip4", "AAAA": "ip6"}[typ]
		var ips []net.IP
		ips, err = resolver.LookupIP(ctx, network, name)
		for _, ip := range ips {
			values = append(values, ip.String())
		}
	case "CNAME":
		var target string
		if target, err = resolver.LookupCNAME(ctx, name); err == nil && target != name {
			values = append(values, target)
		}
	case "TXT":
		values, err = resolver.LookupTXT(ctx, name)
	case "NS":
		var servers []*net.NS
		servers, err = resolver.LookupNS(ctx, name)
		for _, s := range servers {
			values = append(values, s.Host)
		}
	default:
		return nil, console.Usage("%q is none of A, AAAA, CNAME, TXT, NS", typ)
	}
	var failure *net.DNSError
	switch {
	case err == nil:
	case errors.As(err, &failure) && failure.IsNotFound:
		return nil, omni.Errorf(omni.CodeNotFound, "%s has no %s at %s", strings.TrimSuffix(name, "."), typ, server)
	case errors.As(err, &failure):
		// The resolver's own text names the server of the system's configuration, which was not asked.
		return nil, omni.Errorf(omni.CodeUnavailable, "the server at %s does not answer for %s: %s", server, strings.TrimSuffix(name, "."), failure.Err).
			WithHint("it answers for the zones that were applied to it; where its DNS listens is in omnid's ready line: name that with --dns or OMNI_DNS")
	default:
		return nil, omni.Errorf(omni.CodeUnavailable, "the server at %s does not answer: %w", server, err).
			WithHint("omnid's ready line says where its DNS listens; name it with --dns or OMNI_DNS")
	}
	sort.Strings(values)
	return values, nil
}
