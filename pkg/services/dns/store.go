package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// maxZones bounds the zones of one tenant.
const maxZones = 1000

// zoneChanged is the data of the event "omni.zone.changed".
type zoneChanged struct {
	Tenant string       `json:"tenant"`
	Name   string       `json:"name"`
	Domain string       `json:"domain"`
	Change omni.Outcome `json:"change"`
	Serial uint32       `json:"serial"`
}

// deleted is the change of a zone that is no more.
const deleted omni.Outcome = "deleted"

// ApplyZone makes a zone as its manifest says. Record sets that follow a resource take the address of its active placement
// when they are new; those that followed it before keep what they answer, which only Switch changes.
func (s *Service) ApplyZone(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec ZoneSpec) (omni.Outcome, error) {
	spec, err := CheckZone(meta, spec)
	if err != nil {
		return "", err
	}
	before, err := getZone(ctx, tx, meta.Tenant, meta.Name)
	if err != nil && !omni.Is(err, omni.CodeNotFound) {
		return "", err
	}
	existed := err == nil
	if existed && reflect.DeepEqual(before.Spec, spec) && sameLabels(before.Labels, meta.Labels) {
		return omni.Unchanged, nil
	}
	change, err := nextChange(ctx, tx)
	if err != nil {
		return "", err
	}
	after := Zone{Tenant: meta.Tenant, Name: meta.Name, Labels: meta.Labels, Spec: spec, Version: before.Version + 1, Serial: serialOf(change), change: change}
	if err := s.claim(ctx, tx, before, after); err != nil {
		return "", err
	}
	if err := s.checkAcross(ctx, tx, after); err != nil {
		return "", err
	}
	if err := writeZone(ctx, tx, after); err != nil {
		return "", err
	}
	if err := s.writeRecords(ctx, tx, after); err != nil {
		return "", err
	}
	if !existed {
		return omni.Created, s.tell(ctx, tx, omni.Created, "zone.create", Zone{}, after)
	}
	return omni.Updated, s.tell(ctx, tx, omni.Updated, "zone.update", before, after)
}

func sameLabels(a, b map[string]string) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// claim takes the zone's domain, and gives back the one that it had before.
func (s *Service) claim(ctx context.Context, tx *database.Tx, before, after Zone) error {
	domain := after.Spec.Domain
	if before.Spec.Domain == domain {
		return nil
	}
	refused := omni.Errorf(omni.CodeConflict, "zone %s: the domain %s is not available", after.Name, domain).
		WithFields(omni.FieldError{Path: "spec.domain", Message: "is held by another zone, or overlaps one"}).
		WithHint("choose a domain that no other zone holds, is within, or has below it")
	taken, err := overlapping(ctx, tx, after.Tenant, domain)
	switch {
	case err != nil:
		return err
	case taken:
		return refused
	}
	if before.Name == "" {
		n, err := countZones(ctx, tx, after.Tenant)
		if err != nil {
			return err
		}
		if n >= maxZones {
			return omni.Errorf(omni.CodeLimited, "tenant %s has %d zones, which is the most that one may have", after.Tenant, n)
		}
	} else if err := freeDomain(ctx, tx, before.Spec.Domain); err != nil {
		return err
	}
	err = takeDomain(ctx, tx, domain)
	if omni.Is(err, omni.CodeConflict) { // the tenant itself has it, under another name
		return refused
	}
	return err
}

// checkAcross refuses CNAMEs that lead in a circle, or too far, through several zones of the tenant.
func (s *Service) checkAcross(ctx context.Context, tx *database.Tx, z Zone) error {
	leaves, enters := false, false
	for _, r := range z.Spec.Records {
		leaves = leaves || r.Type == "CNAME" && !within(r.Values[0], z.Spec.Domain)
	}
	err := otherNames(ctx, tx, z.Tenant, z.Name, true, func(r RecordSpec) {
		enters = enters || len(r.Values) == 1 && within(r.Values[0], z.Spec.Domain)
	})
	if err != nil || !leaves && !enters {
		return err
	}
	all := newNames()
	if err := otherNames(ctx, tx, z.Tenant, z.Name, false, all.add); err != nil {
		return err
	}
	for _, r := range z.Spec.Records {
		all.add(r)
	}
	for name := range all.targets {
		if problem := all.follow(name); problem != "" {
			return omni.Errorf(omni.CodeInvalid, "zone %s: with the tenant's other zones, %s", z.Name, problem).
				WithFields(omni.FieldError{Path: "spec.records", Message: problem})
		}
	}
	return nil
}

// writeRecords stores the record sets of a zone, and removes those that it no longer has.
func (s *Service) writeRecords(ctx context.Context, tx *database.Tx, z Zone) error {
	stored, err := zoneRecords(ctx, tx, z.Tenant, z.Name)
	if err != nil {
		return err
	}
	old := map[[2]string]RecordSet{}
	for _, r := range stored {
		old[[2]string{r.Name, r.Type}] = r
	}
	var wrong []omni.FieldError
	for _, spec := range z.Spec.Records {
		key := [2]string{spec.Name, spec.Type}
		was := old[key]
		delete(old, key)
		err := s.writeRecord(ctx, tx, z, spec, was)
		switch {
		case omni.Is(err, omni.CodeNotFound) || omni.Is(err, omni.CodeInvalid):
			wrong = append(wrong, omni.FieldError{
				Path: fmt.Sprintf("spec.records[name=%s,type=%s].resource", spec.Name, spec.Type), Message: err.Error(),
			})
		case err != nil:
			return err
		}
	}
	if len(wrong) > 0 {
		return omni.Errorf(omni.CodeInvalid, "zone %s: %s: %s", z.Name, wrong[0].Path, wrong[0].Message).WithFields(wrong...).
			WithHint("apply the resource first, with an active placement whose address is an IP address of the record's type")
	}
	for _, r := range old {
		if err := deleteRecord(ctx, tx, z.Tenant, r); err != nil {
			return err
		}
	}
	return nil
}

// writeRecord stores one record set, unless it is as it was; was is the zero one when it is new. CodeNotFound and CodeInvalid
// are about the resource that it follows.
func (s *Service) writeRecord(ctx context.Context, tx *database.Tx, z Zone, spec RecordSpec, was RecordSet) error {
	r := RecordSet{
		Zone: z.Name, Name: spec.Name, Type: spec.Type, TTL: spec.TTL, Values: spec.Values, Resource: spec.Resource,
		Epoch:     was.Epoch, // which a record set never forgets, so that no earlier leader moves it
		UpdatedAt: tx.Now(),
	}
	switch {
	case spec.Resource == "":
	case was.Resource == spec.Resource:
		r.Values, r.Run = was.Values, was.Run
	default:
		value, err := s.follow(ctx, tx, z.Tenant, spec.Resource, spec.Type)
		if err != nil {
			return err
		}
		r.Values = []string{value}
	}
	was.UpdatedAt = r.UpdatedAt
	if reflect.DeepEqual(was, r) {
		return nil
	}
	return insertRecord(ctx, tx, z.Tenant, r)
}

// follow gives the address of a resource's active placement, as a value of a record of type typ. CodeNotFound: there is no such
// resource; CodeInvalid: its address is none that the record could answer.
func (s *Service) follow(ctx context.Context, tx *database.Tx, tenant, resource, typ string) (string, error) {
	address, err := s.active(ctx, tx, tenant, resource)
	if err != nil {
		return "", err
	}
	value, err := hostAddress(typ, address)
	if err != nil {
		return "", omni.Errorf(omni.CodeInvalid, "the address of the active placement of resource %s cannot be answered: %v", resource, err)
	}
	return value, nil
}

// hostAddress takes the host of HOST, HOST:PORT or a URL-like [HOST]:PORT.
func hostAddress(typ, address string) (string, error) {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "" {
		return "", errors.New("it has none")
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return "", fmt.Errorf("%.60q is a name, not an IP address", host)
	}
	return canonicalAddress(typ, host)
}

// DeleteZone removes a zone with its records.
func (s *Service) DeleteZone(ctx context.Context, tx *database.Tx, tenant, name string) error {
	z, err := getZone(ctx, tx, tenant, name)
	if err != nil {
		return err
	}
	if _, err := nextChange(ctx, tx); err != nil {
		return err
	}
	if err := removeZone(ctx, tx, tenant, name); err != nil {
		return err
	}
	if err := freeDomain(ctx, tx, z.Spec.Domain); err != nil {
		return err
	}
	return s.tell(ctx, tx, deleted, "zone.delete", z, Zone{Tenant: tenant, Name: name})
}

// tell writes the audit record and the event of a change, and has the server read the zone anew once it is committed.
func (s *Service) tell(ctx context.Context, tx *database.Tx, what omni.Outcome, action string, before, after Zone) error {
	rec := omni.AuditRecord{Tenant: after.Tenant, Action: action, Object: "zone/" + after.Name}
	domain := after.Spec.Domain
	if before.Name != "" {
		rec.Before = events.Digest(before.Spec)
	}
	if what == deleted {
		domain = before.Spec.Domain
	} else {
		rec.After = events.Digest(after.Spec)
	}
	if err := events.Audit(ctx, tx, rec); err != nil {
		return err
	}
	tx.AfterCommit(s.wake)
	return events.Append(ctx, tx, events.New(EventZoneChanged, "zone/"+after.Tenant+"/"+after.Name, after.Tenant,
		zoneChanged{Tenant: after.Tenant, Name: after.Name, Domain: domain, Change: what, Serial: after.Serial}))
}

// Zones gives a page of tenant's zones by name; tenant "" means all tenants', whose cursor is tenant/name.
func (s *Service) Zones(ctx context.Context, tenant string, page omni.PageRequest) (list omni.Page[Zone], err error) {
	err = s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		if tenant != "" {
			list, err = s.StoredZones(ctx, tx, tenant, page)
			return err
		}
		after, name, _ := strings.Cut(page.After, "/")
		zones, err := queryZones(ctx, tx, `where (tenant, name) > ($1, $2) order by tenant, name limit $3`, after, name, page.Size()+1)
		list = pageOf(zones, page, func(z Zone) string { return z.Tenant + "/" + z.Name })
		return err
	})
	return list, err
}

// pageOf cuts what was read beyond a page, and names the cursor of the next one.
func pageOf[T any](items []T, page omni.PageRequest, cursor func(T) string) omni.Page[T] {
	list := omni.Page[T]{Items: append([]T{}, items...)}
	if len(items) > page.Size() {
		list.Items = list.Items[:page.Size()]
		list.Next = cursor(list.Items[page.Size()-1])
	}
	return list
}

// Zone gives one zone; CodeNotFound when it does not exist, or is another tenant's.
func (s *Service) Zone(ctx context.Context, tenant, name string) (z Zone, err error) {
	err = s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		z, err = s.StoredZone(ctx, tx, tenant, name)
		return err
	})
	return z, err
}

// Records gives a page of a zone's record sets by name and type; the cursor is "name type".
func (s *Service) Records(ctx context.Context, tenant, zone string, page omni.PageRequest) (list omni.Page[RecordSet], err error) {
	err = s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		if _, err := getZone(ctx, tx, tenant, zone); err != nil {
			return err
		}
		name, typ, _ := strings.Cut(page.After, " ")
		records, err := queryRecords(ctx, tx, `where tenant = $1 and zone = $2 and (name, type) > ($3, $4) order by name, type limit $5`,
			tenant, zone, name, typ, page.Size()+1)
		list = pageOf(records, page, func(r RecordSet) string { return r.Name + " " + r.Type })
		return err
	})
	return list, err
}

func scope(tenant string) database.Scope {
	if tenant == "" {
		return database.Platform()
	}
	return database.Tenant(tenant)
}
