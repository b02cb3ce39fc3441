package dns

import (
	"context"
	"fmt"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// switched is the data of the event "omni.dns.switched": what one run changed in one zone.
type switched struct {
	Tenant  string               `json:"tenant"`
	Zone    string               `json:"zone"`
	Run     string               `json:"run"`
	Epoch   int64                `json:"epoch"`
	Changes []infra.RecordChange `json:"changes"`
}

// Switch makes the record sets of tenant that follow one of resources answer the address of its active placement now. It gives
// what every authoritative server must answer for each of them, whether it had to change or not, so that a repeat gives the same.
// CodeStale: a later leader has switched one of them; nothing is changed then. CodeRefused: an active placement has no address that
// its record could answer.
func (s *Service) Switch(ctx context.Context, tx *database.Tx, tenant string, resources []string, run string, epoch int64) ([]infra.RecordChange, error) {
	following, err := queryRecords(ctx, tx, `where tenant = $1 and resource <> '' order by zone, name, type`, tenant)
	if err != nil {
		return nil, err
	}
	following = slices.DeleteFunc(following, func(r RecordSet) bool { return !slices.Contains(resources, r.Resource) })
	moved, err := s.move(ctx, tx, tenant, following, run, epoch)
	if err != nil {
		return nil, err
	}
	zones := map[string]Zone{}
	for _, r := range following {
		if _, ok := zones[r.Zone]; ok {
			continue
		}
		z, err := getZone(ctx, tx, tenant, r.Zone)
		if err != nil {
			return nil, err
		}
		zones[r.Zone] = z
	}
	if err := s.touch(ctx, tx, moved, zones); err != nil {
		return nil, err
	}
	all := make([]infra.RecordChange, 0, len(following))
	perZone := map[string][]infra.RecordChange{}
	for i, r := range following {
		change := infra.RecordChange{Zone: zones[r.Zone].Spec.Domain, Name: r.Name, Type: r.Type, Values: r.Values, Serial: zones[r.Zone].Serial}
		all = append(all, change)
		if moved[i] != "" {
			perZone[r.Zone] = append(perZone[r.Zone], change)
		}
	}
	return all, s.tellSwitched(ctx, tx, tenant, run, epoch, perZone)
}

// move writes the new values. It updates following, and gives for each of them its zone if its values have changed, "" if not.
func (s *Service) move(ctx context.Context, tx *database.Tx, tenant string, following []RecordSet, run string, epoch int64) ([]string, error) {
	moved := make([]string, len(following))
	values, settled, err := s.wanted(ctx, tx, tenant, following, epoch)
	if err != nil || settled {
		return moved, err
	}
	if err := lockZones(ctx, tx); err != nil {
		return nil, err
	}
	for i := range following {
		r := &following[i]
		same := slices.Equal(r.Values, []string{values[i]})
		if same && r.Epoch == epoch {
			continue
		}
		r.Epoch = epoch
		if !same {
			r.Values, r.Run, moved[i] = []string{values[i]}, run, r.Zone
		}
		ok, err := switchRecord(ctx, tx, tenant, *r)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, stale(*r, epoch)
		}
	}
	return moved, nil
}

// wanted gives what each record set must answer now; settled says that all do so already, under this epoch.
func (s *Service) wanted(ctx context.Context, tx *database.Tx, tenant string, following []RecordSet, epoch int64) (values []string, settled bool, err error) {
	settled = true
	known := map[[2]string]string{} // by resource and type
	for _, r := range following {
		if r.Epoch > epoch {
			return nil, false, stale(r, epoch)
		}
		key := [2]string{r.Resource, r.Type}
		if _, ok := known[key]; !ok {
			if known[key], err = s.activeValue(ctx, tx, tenant, r); err != nil {
				return nil, false, err
			}
		}
		values = append(values, known[key])
		settled = settled && r.Epoch == epoch && slices.Equal(r.Values, []string{known[key]})
	}
	return values, settled, nil
}

// activeValue is what a record set must answer now.
func (s *Service) activeValue(ctx context.Context, tx *database.Tx, tenant string, r RecordSet) (string, error) {
	value, err := s.follow(ctx, tx, tenant, r.Resource, r.Type)
	if omni.Is(err, omni.CodeInvalid) {
		return "", omni.Errorf(omni.CodeRefused, "dns: %s %s: %w", r.Name, r.Type, err).
			WithHint("give the placement an IP address of the record's type, then resume the run")
	}
	return value, err
}

func stale(r RecordSet, epoch int64) error {
	return omni.Errorf(omni.CodeStale, "dns: %s %s was switched under a later leadership than epoch %d", r.Name, r.Type, epoch).
		WithHint("leadership has moved on; the new leader carries the run on")
}

// touch gives a new serial to the zones in which something has moved.
func (s *Service) touch(ctx context.Context, tx *database.Tx, moved []string, zones map[string]Zone) error {
	var change int64
	done := map[string]bool{"": true}
	for _, name := range moved {
		if done[name] {
			continue
		}
		done[name] = true
		var err error
		if change == 0 {
			if change, err = nextChange(ctx, tx); err != nil {
				return err
			}
		}
		z := zones[name]
		if err := touchZone(ctx, tx, z.Tenant, name, change); err != nil {
			return err
		}
		z.change, z.Serial = change, serialOf(change)
		zones[name] = z
	}
	return nil
}

// tellSwitched writes an audit record and an event for each zone in which something has moved.
func (s *Service) tellSwitched(ctx context.Context, tx *database.Tx, tenant, run string, epoch int64, perZone map[string][]infra.RecordChange) error {
	zones := make([]string, 0, len(perZone))
	for zone := range perZone {
		zones = append(zones, zone)
	}
	slices.Sort(zones)
	for _, zone := range zones {
		changes := perZone[zone]
		err := events.Audit(ctx, tx, omni.AuditRecord{
			Tenant: tenant, Action: "zone.switch", Object: "zone/" + zone, After: events.Digest(changes),
			Reason: fmt.Sprintf("run %s moved what %d of its record sets follow", run, len(changes)),
			Detail: map[string]any{"run": run, "epoch": epoch, "records": len(changes), "serial": changes[0].Serial, "first": changes[0]},
		})
		if err != nil {
			return err
		}
		for part := range slices.Chunk(changes, maxEventChanges) {
			err = events.Append(ctx, tx, events.New(EventSwitched, "zone/"+tenant+"/"+zone, tenant,
				switched{Tenant: tenant, Zone: zone, Run: run, Epoch: epoch, Changes: part}))
			if err != nil {
				return err
			}
		}
	}
	if len(zones) > 0 {
		tx.AfterCommit(s.wake)
	}
	return nil
}

// maxEventChanges bounds the changes in one event; a zone with more of them has several.
const maxEventChanges = 200
