package daemon

import (
	"context"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// activeAddress is where a resource serves, for DNS.
func (d *daemon) activeAddress(ctx context.Context, tx *database.Tx, tenant, resource string) (string, error) {
	r, err := d.infra.Resource(ctx, tx, tenant, resource)
	if err != nil {
		return "", err
	}
	p, ok := r.Active()
	if !ok {
		return "", omni.Errorf(omni.CodeNotFound, "resource %s has no active placement", resource)
	}
	return p.Address, nil
}

func (d *daemon) allRegions(ctx context.Context) (regions []infra.Region, err error) {
	err = d.dbs.infra.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		regions, err = d.infra.AllRegions(ctx, tx)
		return err
	})
	return regions, err
}

// probeMetrics fits telemetry's counters to the monitor.
type probeMetrics struct{ *telemetry.Probes }

func (m probeMetrics) ProbeAnswered(region string, kind infra.ProbeType, ok bool, latency, late time.Duration) {
	m.Done(region, string(kind), ok, latency, late)
}

func (m probeMetrics) ProbeSkipped(region string, kind infra.ProbeType, n int64) {
	m.Skipped(region, string(kind), n)
}

// keysOf lets tenants revoke keys, although auth, which keeps them, is made after them.
type keysOf struct{ *daemon }

func (k keysOf) RevokeTenant(ctx context.Context, tx *database.Tx, tenant string) error {
	return k.auth.RevokeTenant(ctx, tx, tenant)
}

// ownership tells what a tenant owns in the infra database, and removes it: zones first, then policies, then resources with
// those that depend on others before these.
type ownership struct {
	db     *database.DB
	daemon *daemon
}

// tenanted lists the kinds whose objects belong to tenants, in the order in which they are made.
func (o *ownership) tenanted() []config.Kind {
	return slices.DeleteFunc(o.daemon.kinds(), func(k config.Kind) bool { return !k.Tenanted })
}

// Owned implements tenants' interface of the same form.
func (o *ownership) Owned(ctx context.Context, tenant string) (count int, kinds []string, err error) {
	err = o.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) error {
		count, kinds = 0, nil
		for _, kind := range o.tenanted() {
			n, err := countObjects(ctx, tx, kind, tenant)
			if err != nil {
				return err
			}
			if count += n; n > 0 {
				kinds = append(kinds, kind.Plural)
			}
		}
		return nil
	})
	return count, kinds, err
}

func countObjects(ctx context.Context, tx *database.Tx, kind config.Kind, tenant string) (n int, err error) {
	page := omni.PageRequest{Limit: omni.MaxPage}
	for {
		list, err := kind.List(ctx, tx, tenant, page)
		if err != nil {
			return 0, err
		}
		n += len(list.Items)
		if page.After = list.Next; list.Next == "" {
			return n, nil
		}
	}
}

// RemoveAll implements tenants' interface of the same form. A run that is alive is aborted first, since it would move what goes. Each kind
// goes in a transaction of its own: called again it goes on.
func (o *ownership) RemoveAll(ctx context.Context, tenant string) error {
	if err := o.daemon.endRun(ctx, tenant); err != nil {
		return err
	}
	for _, kind := range slices.Backward(o.tenanted()) {
		err := o.db.Write(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) error {
			return removeObjects(ctx, tx, kind, tenant)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeObjects removes a kind's objects in rounds: one that another still needs has its turn after that one is gone.
func removeObjects(ctx context.Context, tx *database.Tx, kind config.Kind, tenant string) error {
	for {
		list, err := kind.List(ctx, tx, tenant, omni.PageRequest{Limit: omni.MaxPage})
		if err != nil || len(list.Items) == 0 {
			return err
		}
		removed := 0
		for _, object := range list.Items {
			meta, _ := kind.Manifest(object)
			err := kind.Delete(ctx, tx, tenant, meta.Name)
			if err != nil && !omni.Is(err, omni.CodeReferenced) {
				return err
			}
			if err == nil {
				removed++
			}
		}
		if removed == 0 {
			return omni.Errorf(omni.CodeReferenced, "the %s of tenant %s need one another and cannot be removed", kind.Plural, tenant)
		}
	}
}

// hostOf is the part of HOST or HOST:PORT that DNS answers.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.Trim(address, "[]")
}

// decodeTexts reads a JSON array of text; what is none has no texts.
func decodeTexts(text string) []string {
	var out []string
	if json.Unmarshal([]byte(text), &out) != nil {
		return nil
	}
	return out
}
