package server

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// finding is the result of one check.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Doctor is "omnictl doctor".
func Doctor(c *console.Console) *cobra.Command {
	var readyOnly bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check that everything works, and say what to do where it does not", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := untilWell(cmd.Context(), c, readyOnly, wait)
			table := console.Table{Columns: []string{"CHECK", "", "DETAIL"}}
			failed := 0
			for _, f := range findings {
				state, detail := "ok", f.Detail
				if !f.OK {
					failed++
					state = "FAILED"
				}
				if f.Remedy != "" {
					detail += "  → " + f.Remedy
				}
				table.Rows = append(table.Rows, []string{f.Check, state, detail})
				table.Names = append(table.Names, f.Check)
			}
			if err := c.Print(omni.Page[finding]{Items: findings}, table); err != nil {
				return err
			}
			if failed > 0 {
				return console.Exit(console.ExitFailed, "%d of %d checks failed", failed, len(findings))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&readyOnly, "ready", false, "only ask whether omnid is ready, without a key")
	cmd.Flags().DurationVar(&wait, "wait", 0, "check again for so long until nothing fails")
	return cmd
}

// checkEvery is the pause between two examinations.
const checkEvery = 250 * time.Millisecond

// untilWell examines again and again until nothing fails or the time is up, and gives the last findings.
func untilWell(ctx context.Context, c *console.Console, readyOnly bool, wait time.Duration) []finding {
	deadline := c.Now().Add(wait)
	for {
		findings := examine(ctx, c, readyOnly)
		well := !slices.ContainsFunc(findings, func(f finding) bool { return !f.OK })
		if well || !c.Now().Before(deadline) {
			return findings
		}
		timer := time.NewTimer(checkEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return findings
		}
	}
}

// examine runs the checks, each only where those before it make sense.
func examine(ctx context.Context, c *console.Console, readyOnly bool) []finding {
	api, err := c.Client()
	if err != nil && readyOnly {
		c.TokenFile = "/dev/null"
		api, err = c.Client()
	}
	if err != nil {
		return []finding{failure("configuration", err)}
	}
	findings := []finding{{Check: "configuration", OK: true, Detail: c.Target()}}
	ready, checks, err := api.Ready(ctx)
	if err != nil {
		return append(findings, failure("server", err))
	}
	findings = append(findings, finding{Check: "server", OK: true, Detail: "answers"})
	findings = append(findings, dependencies(checks)...)
	if !ready {
		findings = append(findings, finding{
			Check: "ready", Detail: "omnid says that it is not ready", Remedy: "mend what failed above; just after a start, wait a few seconds",
		})
	} else {
		findings = append(findings, finding{Check: "ready", OK: true})
	}
	if readyOnly {
		return findings
	}
	who, err := api.WhoAmI(ctx)
	if err != nil {
		return append(findings, failure("key", err))
	}
	findings = append(findings, finding{Check: "key", OK: true, Detail: who.Actor})
	findings = append(findings, automation(ctx, api))
	return append(findings, regions(ctx, api)...)
}

// automation says whether runs start by themselves. A freeze is no fault, since somebody wanted it; but it must not be forgotten.
func automation(ctx context.Context, api *client.Client) finding {
	state, err := api.Frozen(ctx)
	switch {
	case err != nil:
		return failure("automation", err)
	case !state.Frozen:
		return finding{Check: "automation", OK: true, Detail: "runs start by themselves"}
	}
	detail := "FROZEN by " + state.By
	if state.Since != nil {
		detail += " since " + state.Since.Format(time.RFC3339)
	}
	if state.Reason != "" {
		detail += ": " + state.Reason
	}
	return finding{Check: "automation", OK: true, Detail: detail, Remedy: "no region is left by itself until: omnictl failover unfreeze"}
}

func failure(check string, err error) finding {
	f := finding{Check: check, Detail: err.Error()}
	var known *omni.Error
	if asError(err, &known) {
		f.Remedy = known.Hint
	}
	return f
}

func dependencies(checks map[string]string) []finding {
	var out []finding
	for name, problem := range checks {
		f := finding{Check: "dependency " + name, OK: problem == "", Detail: problem}
		if !f.OK {
			f.Remedy = "see omnid's log; when it is a database or etcd, check that it runs and that omnid may reach it"
		}
		out = append(out, f)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Check < out[j].Check })
	return out
}

// regions checks that each region is watched and up.
func regions(ctx context.Context, api *client.Client) []finding {
	list, err := api.Regions(ctx)
	if err != nil {
		return []finding{failure("regions", err)}
	}
	out := []finding{{Check: "regions", OK: true, Detail: fmt.Sprintf("%d known", len(list))}}
	for _, r := range list {
		verdict, err := api.RegionHealth(ctx, r.Name)
		if err != nil {
			out = append(out, failure("region "+r.Name, err))
			continue
		}
		f := finding{Check: "region " + r.Name, OK: verdict.Health == "up", Detail: fmt.Sprintf("%s: %s", verdict.Health, verdict.Reason)}
		if !f.OK {
			f.Remedy = "omnictl regions health " + r.Name
		}
		out = append(out, f)
	}
	return out
}
