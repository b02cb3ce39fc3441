// Package demo is "omnictl demo": the main job, on this machine, by itself, with real processes that really die.
//
// It starts an omnid of its own and the shop of examples/shop in a temporary directory, lets a client write orders through the
// name that omnid's DNS answers, kills every process of one region, and reports what followed: from omnid's own records where it
// decided, from the client and the databases where it counts.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/examples/shop"
	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// tenant is the one of the shop's manifests.
const tenant = "acme"

// Shop runs the shop's own commands: its processes and its agent are this program again.
func Shop(args []string, out, errs io.Writer) int {
	return shop.Run(args, self(), out, errs)
}

// self is how this program is started as the shop.
func self() []string {
	exe, err := os.Executable()
	if err != nil {
		exe = "omnictl"
	}
	return []string{exe, "shop"}
}

type options struct {
	keep  bool
	omnid string
	dir   string
	limit time.Duration
}

// Command is "omnictl demo".
func Command(c *console.Console) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch a tenant leave a dead region: the main job, on this machine, in under a minute", Args: cobra.NoArgs,
		Long: "Starts an omnid of its own and a small shop (database, app server and load balancer in each of two regions, as real\n" +
			"processes), writes orders through DNS, kills -9 one region, and reports what followed. Nothing is left behind,\n" +
			"unless --keep is given. Exits with 0 only if no acknowledged order was lost, never two databases took writes, and DNS moved in time.",
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), c, o) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.keep, "keep", false, "leave everything running for a tour, until Ctrl-C")
	flags.StringVar(&o.omnid, "omnid", "", "the omnid to start; default: the one beside omnictl, else of the PATH")
	flags.StringVar(&o.dir, "dir", "", "a new directory for everything; default: a temporary one, removed at the end")
	flags.DurationVar(&o.limit, "limit", 2*time.Minute, "give up when the tenant has not moved after this long")
	return cmd
}

func run(ctx context.Context, c *console.Console, o options) (err error) {
	s, err := newStage(c, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.clear()) }()
	bounded, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := s.build(bounded); err != nil {
		return s.explain(err)
	}
	report, err := s.play(bounded)
	if err != nil {
		return s.explain(err)
	}
	if err := print(c, report); err != nil {
		return err
	}
	if o.keep {
		s.keep(ctx)
	}
	return verdict(report)
}

// verdict turns the report into the exit code.
func verdict(r Report) error {
	var faults []string
	if r.OrdersLost > 0 {
		faults = append(faults, fmt.Sprintf("%d acknowledged orders were lost", r.OrdersLost))
	}
	if r.TwoWriters {
		faults = append(faults, "two databases took writes")
	}
	if r.DNSSwitchedMS == nil || *r.DNSSwitchedMS-deref(r.DecidedMS) > dnsLimit.Milliseconds() {
		faults = append(faults, fmt.Sprintf("DNS did not move within %s of the decision", dnsLimit))
	}
	if r.FirstWriteMS == nil {
		faults = append(faults, "no order was accepted in the new region")
	}
	if !r.AuditVerified {
		faults = append(faults, "the audit trail does not verify")
	}
	if len(faults) == 0 {
		return nil
	}
	e := omni.Errorf(omni.CodeInternal, "the demo did not show what it should")
	for _, f := range faults {
		e = e.WithFields(omni.FieldError{Path: "demo", Message: f})
	}
	return e
}

// dnsLimit is how soon after a run's initiation DNS must have moved.
const dnsLimit = 60 * time.Second

func deref(ms *int64) int64 {
	if ms == nil {
		return 0
	}
	return *ms
}
