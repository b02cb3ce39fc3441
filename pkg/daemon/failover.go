package daemon

import (
	"context"
	"time"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// makeFailover makes the heart from the parts that it moves.
func (d *daemon) makeFailover() error {
	d.failover = failover.New(failover.Options{
		DB: d.dbs.infra, Infra: d.infra, Drivers: tracedDrivers{d.drivers, d.traces}, Observations: d.monitor, DNS: d.dns, Meter: d.billing,
		Tenants: d.tenants, Records: d.followingRecords, Now: time.Now, Logger: d.log,
		MaxAlive: d.config.MaxRuns, MaxPerHour: d.config.MaxRunsPerHour,
		Workflow: workflow.Options{Logger: d.log, Metrics: telemetry.NewWorkflow(d.registry), Failpoint: d.opts.Failpoint},
	})
	return nil
}

// busy gives the tenant's run that is alive, for the store of its resources, which is made before the runs are.
func (d *daemon) busy(ctx context.Context, tx *database.Tx, tenant string) (run string, err error) {
	return d.failover.Busy(ctx, tx, tenant)
}

// endRunTimeout bounds the wait for a run that is aborted.
const endRunTimeout = 20 * time.Second

// endRun aborts the tenant's run, if one is alive, and waits until the steps in the middle of it have ended.
func (d *daemon) endRun(ctx context.Context, tenant string) error {
	id, err := d.failover.Alive(ctx, tenant)
	if err != nil || id == "" {
		return err
	}
	// One that is being aborted already, or has just ended, refuses: waiting tells.
	if _, err := d.failover.Abort(ctx, tenant, id, "the tenant is deleted"); err != nil && !omni.Is(err, omni.CodeRefused) {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, endRunTimeout)
	defer cancel()
	if _, err = d.failover.Wait(wait, id, nil); err != nil && wait.Err() != nil && ctx.Err() == nil {
		return omni.Errorf(omni.CodeUnfinished, "the run %s is being aborted, and a step of it has not ended yet", id).
			WithHint("delete the tenant again once the run is over")
	}
	return err
}

// followingRecords lists a tenant's record sets that follow a resource.
func (d *daemon) followingRecords(ctx context.Context, tenant string) ([]failover.Record, error) {
	var list []failover.Record
	zones := omni.PageRequest{Limit: omni.MaxPage}
	for {
		page, err := d.dns.Zones(ctx, tenant, zones)
		if err != nil {
			return nil, err
		}
		for _, zone := range page.Items {
			if list, err = d.addFollowing(ctx, list, tenant, zone.Name, zone.Spec.Domain); err != nil {
				return nil, err
			}
		}
		if zones.After = page.Next; page.Next == "" {
			return list, nil
		}
	}
}

func (d *daemon) addFollowing(ctx context.Context, list []failover.Record, tenant, zone, domain string) ([]failover.Record, error) {
	records := omni.PageRequest{Limit: omni.MaxPage}
	for {
		page, err := d.dns.Records(ctx, tenant, zone, records)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Items {
			if r.Resource != "" {
				list = append(list, failover.Record{Zone: domain, Name: r.Name, Type: r.Type, Resource: r.Resource, Values: r.Values})
			}
		}
		if records.After = page.Next; page.Next == "" {
			return list, nil
		}
	}
}
