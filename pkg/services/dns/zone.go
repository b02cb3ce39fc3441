package dns

import (
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// ZoneSpec is the manifest's part of a zone.
type ZoneSpec struct {
	Domain  string        `json:"domain" yaml:"domain" doc:"what it answers for, such as acme.test; at least two labels; no other zone may overlap another tenant's"`
	TTL     omni.Duration `json:"ttl,omitempty" yaml:"ttl,omitempty" doc:"of records without one, of SOA and NS, and of negative answers; default 20s, 1s to 168h, whole seconds"`
	NS      []string      `json:"ns" yaml:"ns" doc:"the names of its servers, 1 to 13; the first is the primary"`
	Contact string        `json:"contact,omitempty" yaml:"contact,omitempty" doc:"mail address of who is responsible, as a name or with '@'; default hostmaster at the domain"`
	Records []RecordSpec  `json:"records,omitempty" yaml:"records,omitempty" doc:"its record sets; at most 5000"`
}

// RecordSpec is a record set of a manifest: with values, or with a resource that it follows.
type RecordSpec struct {
	Name     string        `json:"name" yaml:"name" doc:"relative to the domain, or a whole name within it; '@' is the domain itself; '*' may be its first label"`
	Type     string        `json:"type" yaml:"type" doc:"A, AAAA, CNAME, TXT, SRV, CAA or NS"`
	TTL      omni.Duration `json:"ttl,omitempty" yaml:"ttl,omitempty" doc:"1s to 168h, whole seconds; default the zone's"`
	Values   []string      `json:"values,omitempty" yaml:"values,omitempty" doc:"1 to 64, without repeats; SRV is 'priority weight port target', CAA is 'flags tag value'"`
	Resource string        `json:"resource,omitempty" yaml:"resource,omitempty" doc:"instead of values, for A and AAAA: the tenant's resource whose active placement's address it answers"`
}

// Zone is a zone as it is stored. Its spec is canonical: names are whole, in lower case and with the final dot.
type Zone struct {
	Tenant    string            `json:"tenant"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	Spec      ZoneSpec          `json:"spec"`
	Serial    uint32            `json:"serial"`
	Version   int64             `json:"version"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`

	change int64 // when it changed last; Serial is its low half
}

// RecordSet is what the server answers for one name and type.
type RecordSet struct {
	Zone      string        `json:"zone"` // the zone's name
	Name      string        `json:"name"` // with the final dot
	Type      string        `json:"type"`
	TTL       omni.Duration `json:"ttl"`
	Values    []string      `json:"values"`             // sorted
	Resource  string        `json:"resource,omitempty"` // that it follows
	Epoch     int64         `json:"epoch,omitempty"`    // of the leader that switched it last
	Run       string        `json:"run,omitempty"`      // that switched it last
	UpdatedAt time.Time     `json:"updated_at"`
}

// serialOf is the serial of a zone that changed last at change.
func serialOf(change int64) uint32 { return uint32(change & 0xffffffff) }

// Types of the events that this package writes.
const (
	EventZoneChanged = "omni.zone.changed"
	EventSwitched    = "omni.dns.switched"
)
