package failover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// guard holds a level until its target may be moved to: the region is neither cordoned nor down, and the standbys are well and
// close enough. What a forced move with a reason has accepted does not stop it.
func (s *Service) guard(ctx context.Context, c workflow.Call) (workflow.Outcome, error) {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return workflow.Outcome{}, err
	}
	if err := s.guardRegion(ctx, c.Run.Tenant, in.To); err != nil {
		return workflow.Outcome{}, err
	}
	level := c.Step.Level / phases
	if level < 1 || level > len(in.Levels) {
		return workflow.Outcome{}, workflow.Permanent(omni.Errorf(omni.CodeInternal, "the run has no level %d", level))
	}
	names := in.Levels[level-1]
	faults := s.guardLevel(ctx, c, in, names)
	if len(faults) > 0 {
		return workflow.Outcome{}, omni.Errorf(omni.CodeRefused, "%s", strings.Join(faults, "; "))
	}
	return workflow.Outcome{Message: fmt.Sprintf("%d may move to %s", len(names), in.To)}, nil
}

// guardRegion judges the region as the plan did: by the tenant's own trigger.
func (s *Service) guardRegion(ctx context.Context, tenant, name string) error {
	var region infra.Region
	var trigger Trigger
	err := s.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		if region, err = s.infra.Region(ctx, tx, name); err != nil {
			return err
		}
		policy, err := policyOf(ctx, tx, tenant)
		if policy != nil {
			trigger = policy.Spec.Trigger
		}
		return err
	})
	if err != nil {
		return err
	}
	if region.Cordoned {
		return omni.Errorf(omni.CodeRefused, "%s is cordoned%s", name, because(region.CordonReason))
	}
	if v := s.judge(region, trigger, s.now()); v.Health == Down {
		return omni.Errorf(omni.CodeRefused, "%s is down%s", name, because(v.Reason))
	}
	return nil
}

// guardLevel says what speaks against moving these resources, at most a few lines.
func (s *Service) guardLevel(ctx context.Context, c workflow.Call, in *runInfo, names []string) []string {
	var (
		mu     sync.Mutex
		wait   sync.WaitGroup
		faults []string
		slots  = make(chan struct{}, checksAtOnce)
	)
	for _, name := range names {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			why := s.guardOne(ctx, c, in, name)
			mu.Lock()
			defer mu.Unlock()
			if why != "" && len(faults) < 5 {
				faults = append(faults, name+" "+why)
			}
		})
	}
	wait.Wait()
	return faults
}

func (s *Service) guardOne(ctx context.Context, c workflow.Call, in *runInfo, name string) string {
	r, p, err := in.placement(name, in.To)
	if err != nil {
		return err.Error()
	}
	driver, err := s.opts.Drivers.Driver(p.Driver)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.opts.CheckTimeout)
	defer cancel()
	state, err := driver.Check(ctx, provider.Call{Target: target(r, p), Action: provider.Check, Run: c.Run.ID, Step: c.Step.ID, Epoch: c.Epoch})
	switch {
	case errors.Is(err, provider.ErrNotSupported):
		return ""
	case err != nil && in.Mode == Forced: // its promotion, or verifying it, will tell
		return ""
	case err != nil:
		return "does not answer: " + err.Error()
	case state.Role == provider.RoleActive: // this level was under way before
		return ""
	case in.Mode == Planned && !state.Healthy && state.Role != provider.RoleStopped:
		return "is not healthy" + because(state.Message)
	case !in.IgnoreLag && behind(state.LagSeconds, in.MaxLag.Std()+in.silence(s.now())):
		return fmt.Sprintf("is %.1fs behind, more than %s%s", *state.LagSeconds, in.MaxLag, without(in.silence(s.now())))
	}
	return ""
}

// dnsResult is what the dns step keeps.
type dnsResult struct {
	Confirmed time.Time            `json:"confirmed"`
	Records   int                  `json:"records"`
	Changes   []infra.RecordChange `json:"changes"` // the first ones
}

// switchDNS writes the new answers in a fenced transaction of its own, and then asks the servers until they give them. It comes
// before the checkpoint since a record that is written but not answered has not switched anybody; both halves can be repeated.
func (s *Service) switchDNS(ctx context.Context, c workflow.Call) (workflow.Outcome, error) {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return workflow.Outcome{}, err
	}
	var changes []infra.RecordChange
	err = s.db.Write(as(ctx), database.Tenant(c.Run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		if err := epoch.Fence(ctx, tx, c.Epoch); err != nil {
			return workflow.Permanent(err)
		}
		changes, err = s.opts.DNS.Switch(ctx, tx, c.Run.Tenant, in.runInput.resources(), c.Run.ID, c.Epoch)
		return err
	})
	if err != nil {
		return workflow.Outcome{}, err
	}
	if len(changes) == 0 {
		return workflow.Outcome{Skipped: true, Message: "no DNS record follows what was moved"}, nil
	}
	if err := s.opts.DNS.Confirm(ctx, changes); err != nil {
		return workflow.Outcome{}, err
	}
	return workflow.Outcome{
		Message: fmt.Sprintf("%d record sets, confirmed by every authoritative server", len(changes)),
		Result:  dnsResult{Confirmed: s.now().UTC(), Records: len(changes), Changes: changes[:min(len(changes), 20)]},
	}, nil
}

// switched records how long after its beginning the run had DNS switched.
func (s *Service) switched(ctx context.Context, tx *database.Tx, c workflow.Call, o workflow.Outcome) error {
	result, ok := o.Result.(dnsResult)
	if !ok {
		return nil
	}
	run, err := getRun(ctx, tx, c.Run.Tenant, c.Run.ID)
	if err != nil {
		return err
	}
	took := max(0, result.Confirmed.Sub(run.InitiatedAt).Milliseconds())
	if _, err := tx.Exec(ctx, setSwitch, c.Run.Tenant, c.Run.ID, took); err != nil {
		return err
	}
	run.DNSSwitchedMS = &took
	return appendRun(as(ctx), tx, run)
}

// meter waits until the usage of both regions is on the books. Late books do not make a move that users already follow fail: after a
// while the step is skipped, and says so.
func (s *Service) meter(ctx context.Context, c workflow.Call) (workflow.Outcome, error) {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return workflow.Outcome{}, err
	}
	regions := []string{in.From, in.To}
	err = poll(ctx, s.opts.MeterFor, func(ctx context.Context) error {
		settled, err := s.opts.Meter.Settled(ctx, c.Run.Tenant, c.Run.ID, regions)
		if err == nil && !settled {
			err = omni.Errorf(omni.CodeUnfinished, "the usage of %s is not on the books yet", strings.Join(regions, " and "))
		}
		return err
	})
	if err != nil {
		return workflow.Outcome{Skipped: true, Message: err.Error() + "; billing catches up by itself"}, ctx.Err()
	}
	return workflow.Outcome{Message: "usage of " + strings.Join(regions, " and ") + " is on the books"}, nil
}
