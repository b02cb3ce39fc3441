package dns

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of a zone.
const (
	defaultTTL = omni.Duration(20 * time.Second)
	minTTL     = time.Second
	maxTTL     = 7 * 24 * time.Hour
	maxNS      = 13
	maxRecords = 5000
	maxValues  = 64
	maxSetSize = 16 << 10 // octets of one record set on the wire, so that an answer fits into a message
	maxChain   = 10
	maxErrors  = 100 // that one refusal names
)

// types are the record types of a manifest.
func types() []string { return []string{"A", "AAAA", "CNAME", "TXT", "SRV", "CAA", "NS"} }

// CheckZone checks a zone's manifest and gives its canonical spec: whole names in lower case, TTLs filled in, values in
// one form and sorted, records sorted. The error is CodeInvalid and names every field that is wrong.
func CheckZone(meta omni.Metadata, spec ZoneSpec) (ZoneSpec, error) {
	c := &checker{}
	if err := omni.CheckName("metadata.name", meta.Name); err != nil {
		c.fail("metadata.name", "must be 1 to 63 of a–z, 0–9 and '-', with no '-' at either end")
	}
	if err := omni.CheckName("metadata.tenant", meta.Tenant); err != nil {
		c.fail("metadata.tenant", "must name the tenant that owns the zone")
	}
	out := c.zone(spec)
	if len(c.fields) == 0 {
		return out, nil
	}
	fields := c.fields
	if len(fields) > maxErrors {
		fields = fields[:maxErrors]
	}
	return ZoneSpec{}, omni.Errorf(omni.CodeInvalid, "zone %.63q: %s: %s", meta.Name, fields[0].Path, fields[0].Message).
		WithFields(fields...).WithHint("correct the fields named and apply again; nothing was changed")
}

// checker collects what is wrong.
type checker struct{ fields []omni.FieldError }

func (c *checker) fail(path, format string, args ...any) {
	c.fields = append(c.fields, omni.FieldError{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) zone(spec ZoneSpec) ZoneSpec {
	out := ZoneSpec{TTL: spec.TTL}
	if out.TTL == 0 {
		out.TTL = defaultTTL
	}
	c.ttl("spec.ttl", out.TTL)
	domain, err := hostName(spec.Domain, false)
	switch {
	case err != nil:
		c.fail("spec.domain", "%v", err)
		return out // names are only checked within a domain
	case strings.Count(domain, ".") < 2:
		c.fail("spec.domain", "must have at least two labels, such as acme.test")
		return out
	}
	out.Domain = domain
	if out.Contact, err = contactName(spec.Contact, domain); err != nil {
		c.fail("spec.contact", "%v", err)
	}
	out.NS = c.servers(spec.NS)
	if len(spec.Records) > maxRecords {
		c.fail("spec.records", "must not be more than %d record sets", maxRecords)
		return out
	}
	sets := map[[2]string]int{}
	for i, r := range spec.Records {
		path := fmt.Sprintf("spec.records[%d]", i)
		checked, ok := c.record(path, r, out)
		if !ok {
			continue
		}
		key := [2]string{checked.Name, checked.Type}
		if first, twice := sets[key]; twice {
			c.fail(path, "%s %s is defined already, by spec.records[%d]; put all its values there", checked.Name, checked.Type, first)
			continue
		}
		sets[key] = i
		out.Records = append(out.Records, checked)
	}
	c.exclusive(out, sets)
	c.chains(out, sets)
	slices.SortFunc(out.Records, func(a, b RecordSpec) int {
		return strings.Compare(a.Name+" "+a.Type, b.Name+" "+b.Type)
	})
	return out
}

func (c *checker) ttl(path string, ttl omni.Duration) {
	d := ttl.Std()
	if d < minTTL || d > maxTTL || d%time.Second != 0 {
		c.fail(path, "must be whole seconds from 1s to 168h")
	}
}

func (c *checker) servers(names []string) []string {
	if len(names) == 0 || len(names) > maxNS {
		c.fail("spec.ns", "must name 1 to %d servers", maxNS)
		return nil
	}
	var out []string
	for i, text := range names {
		path := fmt.Sprintf("spec.ns[%d]", i)
		name, err := hostName(text, false)
		switch {
		case err != nil:
			c.fail(path, "%v", err)
		case slices.Contains(out, name):
			c.fail(path, "%s is named twice", name)
		default:
			out = append(out, name)
		}
	}
	return out
}

// record checks one record set; ok is false when something is wrong with it.
func (c *checker) record(path string, r RecordSpec, zone ZoneSpec) (out RecordSpec, ok bool) {
	before := len(c.fields)
	out = RecordSpec{Type: strings.ToUpper(r.Type), TTL: r.TTL, Resource: r.Resource}
	if out.TTL == 0 {
		out.TTL = zone.TTL
	} else {
		c.ttl(path+".ttl", out.TTL)
	}
	var err error
	if out.Name, err = ownerName(r.Name, zone.Domain); err != nil {
		c.fail(path+".name", "%v", err)
	}
	switch {
	case !slices.Contains(types(), out.Type):
		c.fail(path+".type", "%.20q must be one of %s", r.Type, strings.Join(types(), ", "))
	case r.Resource != "":
		c.follow(path, r, out.Type)
	default:
		out.Values = c.values(path, r, out)
	}
	switch {
	case out.Name != zone.Domain:
	case out.Type == "CNAME":
		c.fail(path+".type", "the domain itself cannot be a CNAME: it has SOA and NS beside it")
	case out.Type == "NS":
		c.fail(path+".type", "the servers of the domain itself stand in spec.ns")
	}
	if out.Type == "NS" && strings.HasPrefix(out.Name, "*.") {
		c.fail(path+".name", "a wildcard cannot be delegated")
	}
	return out, len(c.fields) == before
}

func (c *checker) follow(path string, r RecordSpec, typ string) {
	if typ != "A" && typ != "AAAA" {
		c.fail(path+".resource", "only records of type A and AAAA can follow a resource")
	}
	if len(r.Values) > 0 {
		c.fail(path+".values", "must be left out beside resource: the values follow its active placement")
	}
	if omni.CheckName(path+".resource", r.Resource) != nil {
		c.fail(path+".resource", "%.63q must be the name of a resource", r.Resource)
	}
}

func (c *checker) values(path string, r RecordSpec, set RecordSpec) []string {
	switch {
	case len(r.Values) == 0:
		c.fail(path+".values", "must have a value, or name a resource to follow")
		return nil
	case len(r.Values) > maxValues:
		c.fail(path+".values", "must not be more than %d", maxValues)
		return nil
	case set.Type == "CNAME" && len(r.Values) > 1:
		c.fail(path+".values", "a CNAME has exactly one")
		return nil
	}
	var out []string
	size := 0
	for i, text := range r.Values {
		at := fmt.Sprintf("%s.values[%d]", path, i)
		value, err := canonicalValue(set.Type, text)
		switch {
		case err != nil:
			c.fail(at, "%v", err)
		case slices.Contains(out, value):
			c.fail(at, "%.60q is there twice", text)
		default:
			out = append(out, value)
			size += len(value) + 16
		}
	}
	if size > maxSetSize {
		c.fail(path+".values", "must not be more than %d bytes together", maxSetSize)
	}
	slices.Sort(out)
	return out
}

// exclusive refuses other records beside a CNAME (RFC 1034 §3.6.2).
func (c *checker) exclusive(zone ZoneSpec, sets map[[2]string]int) {
	for _, r := range zone.Records {
		at, alias := sets[[2]string{r.Name, "CNAME"}]
		if alias && r.Type != "CNAME" {
			c.fail(fmt.Sprintf("spec.records[%d]", sets[[2]string{r.Name, r.Type}]), "%s is a CNAME (spec.records[%d]): it cannot have other records",
				r.Name, at)
		}
	}
}

// chains refuses CNAMEs that lead in a circle or too far within the zone.
func (c *checker) chains(zone ZoneSpec, sets map[[2]string]int) {
	n := newNames()
	for _, r := range zone.Records {
		n.add(r)
	}
	for _, r := range zone.Records {
		if r.Type != "CNAME" {
			continue
		}
		if problem := n.follow(r.Name); problem != "" {
			c.fail(fmt.Sprintf("spec.records[%d].values[0]", sets[[2]string{r.Name, "CNAME"}]), "%s", problem)
		}
	}
}

// names is what following CNAMEs must know: the names that exist, those above them included, and the targets.
type names struct {
	exist   map[string]bool
	targets map[string]string
}

func newNames() *names { return &names{exist: map[string]bool{}, targets: map[string]string{}} }

func (n *names) add(r RecordSpec) {
	n.exist[r.Name] = true
	for _, above := range ancestors(r.Name) {
		n.exist[above] = true
	}
	if r.Type == "CNAME" && len(r.Values) == 1 {
		n.targets[r.Name] = r.Values[0]
	}
}

// follow says what is wrong with the CNAMEs that begin at name, or "".
func (n *names) follow(name string) string {
	path := []string{name}
	for {
		next, alias := n.alias(path[len(path)-1])
		switch {
		case !alias:
			return ""
		case slices.Contains(path, next):
			return "the CNAMEs lead in a circle: " + strings.Join(append(path, next), " → ")
		case len(path) > maxChain:
			return fmt.Sprintf("the CNAMEs are more than %d deep: %s …", maxChain, strings.Join(path, " → "))
		}
		path = append(path, next)
	}
}

// alias finds the CNAME of name: its own, or, when it does not exist, that of the wildcard beside it (RFC 4592).
func (n *names) alias(name string) (string, bool) {
	if n.exist[name] {
		target, ok := n.targets[name]
		return target, ok
	}
	for _, above := range ancestors(name) {
		if n.exist[above] {
			target, ok := n.targets["*."+above]
			return target, ok
		}
	}
	return "", false
}
