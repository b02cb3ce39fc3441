package dns

import (
	"fmt"
	"maps"
	"strings"

	"github.com/miekg/dns"
)

// catalog is all zones as the server answers them. It is never changed once it serves.
type catalog struct {
	zones map[string]*zoneData // by domain
}

// zoneData is one zone as the server answers it.
type zoneData struct {
	tenant, name string // of the zone's manifest
	domain       string
	change       int64
	soa          *dns.SOA
	negative     *dns.SOA         // the SOA of negative answers (RFC 2308 §3)
	nodes        map[string]*node // every name that exists, empty ones above others included
}

// node is what exists at one name.
type node struct {
	sets map[uint16][]dns.RR
	cut  bool // it is delegated to other servers
}

// Timers of SOA records, in seconds, as RIPE-203 recommends; there are no secondaries to use them.
const (
	soaRefresh = 3600
	soaRetry   = 600
	soaExpire  = 1209600
)

// newZoneData builds the answers of a zone from what is stored.
func newZoneData(z Zone, records []RecordSet) (*zoneData, error) {
	ttl := uint32(z.Spec.TTL.Std().Seconds())
	d := &zoneData{tenant: z.Tenant, name: z.Name, domain: z.Spec.Domain, change: z.change, nodes: map[string]*node{}}
	if len(z.Spec.NS) == 0 {
		return nil, fmt.Errorf("zone %s of tenant %s has no servers", z.Name, z.Tenant)
	}
	d.soa = &dns.SOA{
		Hdr: dns.RR_Header{Name: d.domain, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  z.Spec.NS[0], Mbox: z.Spec.Contact, Serial: z.Serial, Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: ttl,
	}
	negative := *d.soa
	d.negative = &negative
	d.add(d.soa)
	for _, server := range z.Spec.NS {
		d.add(&dns.NS{Hdr: dns.RR_Header{Name: d.domain, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: ttl}, Ns: server})
	}
	for _, set := range records {
		for _, value := range set.Values {
			rr, err := record(set.Name, set.Type, uint32(set.TTL.Std().Seconds()), value)
			if err != nil {
				return nil, fmt.Errorf("zone %s of tenant %s: %s %s: %w", z.Name, z.Tenant, set.Name, set.Type, err)
			}
			d.add(rr)
		}
	}
	return d, nil
}

func (d *zoneData) add(rr dns.RR) {
	h := rr.Header()
	n := d.node(h.Name)
	n.sets[h.Rrtype] = append(n.sets[h.Rrtype], rr)
	n.cut = n.cut || h.Rrtype == dns.TypeNS && h.Name != d.domain
}

// node makes the node of name, and those above it that are missing.
func (d *zoneData) node(name string) *node {
	if n := d.nodes[name]; n != nil {
		return n
	}
	n := &node{sets: map[uint16][]dns.RR{}}
	d.nodes[name] = n
	if name != d.domain {
		if _, above, found := strings.Cut(name, "."); found && within(above, d.domain) {
			d.node(above)
		}
	}
	return n
}

// find gives the nearest zone at or above name (lower case), or nil.
func (c *catalog) find(name string) *zoneData {
	for {
		if z := c.zones[name]; z != nil {
			return z
		}
		_, rest, found := strings.Cut(name, ".")
		if !found || rest == "" {
			return nil
		}
		name = rest
	}
}

// with gives a catalog in which the changed zones replace those before them, and only zones of the given domains remain.
func (c *catalog) with(changed []*zoneData, domains map[string]bool) *catalog {
	next := &catalog{zones: maps.Clone(c.zones)}
	if next.zones == nil {
		next.zones = map[string]*zoneData{}
	}
	for domain := range next.zones {
		if !domains[domain] {
			delete(next.zones, domain)
		}
	}
	for _, z := range changed {
		next.zones[z.domain] = z
	}
	return next
}

// lookup finds the node that answers for name: its own, or the wildcard's beside it (RFC 4592 §3.3.1). cut is the
// delegation at or above the name, if there is one.
func (d *zoneData) lookup(name string) (n *node, cut string) {
	if cut = d.delegation(name); cut != "" {
		return nil, cut
	}
	if n = d.nodes[name]; n != nil {
		return n, ""
	}
	for name != d.domain {
		_, above, found := strings.Cut(name, ".")
		if !found {
			return nil, ""
		}
		if d.nodes[above] != nil { // the closest encloser
			return d.nodes["*."+above], ""
		}
		name = above
	}
	return nil, ""
}

// delegation gives the highest name at or above name, below the domain, that is delegated to other servers.
func (d *zoneData) delegation(name string) string {
	cut := ""
	for name != d.domain && name != "" {
		if n := d.nodes[name]; n != nil && n.cut {
			cut = name
		}
		_, above, found := strings.Cut(name, ".")
		if !found {
			break
		}
		name = above
	}
	return cut
}
