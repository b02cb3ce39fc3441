package failover

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// stepChanged is the data of omni.failover.step.changed.
type stepChanged struct {
	Run  string `json:"run"`
	Step Step   `json:"step"`
}

// onStep reports a step that has ended, in the transaction of its checkpoint.
func (s *Service) onStep(ctx context.Context, tx *database.Tx, r workflow.Run, w workflow.Step, _ *time.Time) error {
	ctx = as(ctx)
	step := stepOf(w)
	detail := map[string]any{"action": step.Action, "level": step.Level, "status": step.Status, "attempts": step.Attempts}
	if step.Resource != "" {
		detail["resource"] = step.Resource
	}
	if step.DurationMS != nil {
		detail["duration_ms"] = *step.DurationMS
	}
	if step.Message != "" {
		detail["message"] = step.Message
	}
	if step.Error != "" {
		detail["error"] = step.Error
	}
	err := events.Audit(ctx, tx, omni.AuditRecord{
		Tenant: r.Tenant, Action: "failover.step", Object: "failover/" + r.ID + "/" + step.ID, Detail: detail,
	})
	if err != nil {
		return err
	}
	return events.Append(ctx, tx, events.New(EventStepChanged, "failover/"+r.ID, r.Tenant, stepChanged{Run: r.ID, Step: step}))
}

// onRun reports where a run stands now, in the transaction of the change.
func (s *Service) onRun(ctx context.Context, tx *database.Tx, w workflow.Run) error {
	ctx = as(ctx)
	before, err := getRun(ctx, tx, w.Tenant, w.ID)
	if err != nil {
		return err
	}
	run, err := mirror(ctx, tx, before, w)
	if err != nil {
		return err
	}
	if run.Status != before.Status {
		detail := map[string]any{"from": run.From, "to": run.To, "from_status": before.Status, "to_status": run.Status}
		if run.DurationMS != nil {
			detail["duration_ms"] = *run.DurationMS
		}
		if run.DNSSwitchedMS != nil {
			detail["dns_switched_ms"] = *run.DNSSwitchedMS
		}
		if run.Error != "" {
			detail["error"] = run.Error
		}
		err := events.Audit(ctx, tx, omni.AuditRecord{
			Tenant: run.Tenant, Action: string(run.Kind) + "." + string(run.Status), Object: "failover/" + run.ID, Detail: detail,
		})
		if err != nil {
			return err
		}
	}
	if run.Status == Succeeded {
		if err := s.learn(ctx, tx, w); err != nil {
			return err
		}
	}
	tx.AfterCommit(func() { s.forget(run) })
	return appendRun(ctx, tx, run)
}

// learn keeps how long the steps of a run took, one sample a class: what the next plan predicts from.
func (s *Service) learn(ctx context.Context, tx *database.Tx, w workflow.Run) error {
	full, err := workflow.Get(ctx, tx, w.ID)
	if err != nil {
		return err
	}
	in, err := s.inputOf(full)
	if err != nil {
		return err
	}
	resources, err := s.infra.AllResources(ctx, tx, w.Tenant)
	if err != nil {
		return err
	}
	classes := map[string][2]HistoryKey{} // by resource, of its old and its new placement
	for _, r := range resources {
		from, _ := r.Placement(in.From)
		to, _ := r.Placement(in.To)
		classes[r.Name] = [2]HistoryKey{{Driver: from.Driver, Type: r.Type}, {Driver: to.Driver, Type: r.Type}}
	}
	samples := map[HistoryKey][]int64{}
	for _, wf := range full.Steps {
		step := stepOf(wf)
		if step.Status != StepSucceeded || step.DurationMS == nil {
			continue
		}
		class := classes[step.Resource][1]
		if step.Action == ActionFence || (step.Action == ActionRelease && step.Level > 0) {
			class = classes[step.Resource][0]
		}
		class.Action = step.Action
		samples[class] = append(samples[class], *step.DurationMS)
	}
	for _, class := range sortedKeys(samples) {
		list := samples[class]
		slices.Sort(list)
		if err := addDuration(ctx, tx, class, list[len(list)/2]); err != nil {
			return err
		}
	}
	return nil
}

// sortedKeys gives the classes in one order, so that two runs that end together do not wait for each other's rows.
func sortedKeys(samples map[HistoryKey][]int64) []HistoryKey {
	keys := make([]HistoryKey, 0, len(samples))
	for k := range samples {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b HistoryKey) int {
		return cmp.Or(cmp.Compare(a.Driver, b.Driver), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Action, b.Action))
	})
	return keys
}
