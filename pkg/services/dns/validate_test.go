package dns_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/dns"
)

func TestEachWrongFieldOfAManifestIsNamed(t *testing.T) {
	t.Parallel()
	rec := func(name, typ string, values ...string) dns.RecordSpec {
		return dns.RecordSpec{Name: name, Type: typ, Values: values}
	}
	week := omni.Duration(168 * time.Hour)
	cases := map[string]struct {
		spec  dns.ZoneSpec
		paths []string
	}{
		"no domain":            {dns.ZoneSpec{NS: []string{"ns.x"}}, []string{"spec.domain"}},
		"one label":            {dns.ZoneSpec{Domain: "test", NS: []string{"ns.x"}}, []string{"spec.domain"}},
		"long label":           {dns.ZoneSpec{Domain: strings.Repeat("a", 64) + ".test", NS: []string{"ns.x"}}, []string{"spec.domain"}},
		"long domain":          {dns.ZoneSpec{Domain: strings.Repeat("a.", 127) + "test", NS: []string{"ns.x"}}, []string{"spec.domain"}},
		"no servers":           {dns.ZoneSpec{Domain: "acme.test"}, []string{"spec.ns"}},
		"wrong servers":        {dns.ZoneSpec{Domain: "acme.test", NS: []string{"ns1.x", "NS1.x.", "-"}}, []string{"spec.ns[1]", "spec.ns[2]"}},
		"contact":              {dns.ZoneSpec{Domain: "acme.test", NS: []string{"n"}, Contact: "a.b@c"}, []string{"spec.contact"}},
		"ttl of the zone":      {dns.ZoneSpec{Domain: "acme.test", NS: []string{"n"}, TTL: week + 1}, []string{"spec.ttl"}},
		"fraction of a second": {acme(dns.RecordSpec{Name: "a", Type: "A", TTL: omni.Duration(1500 * time.Millisecond), Values: []string{"1.2.3.4"}}), []string{"spec.records[0].ttl"}},
		"several at once": {
			acme(rec("a b", "A", "1.2.3.4"), rec("b", "MX", "x"), rec("c", "A", "x", "::1", "1.2.3.4", "1.2.3.4"), rec("d", "A")),
			[]string{
				"spec.records[0].name", "spec.records[1].type", "spec.records[2].values[0]", "spec.records[2].values[1]",
				"spec.records[2].values[3]", "spec.records[3].values",
			},
		},
		"outside":                 {acme(rec("shop.globex.test.", "A", "1.2.3.4")), []string{"spec.records[0].name"}},
		"mapped IPv6":             {acme(rec("a", "AAAA", "::ffff:1.2.3.4")), []string{"spec.records[0].values[0]"}},
		"IPv6 with a zone":        {acme(rec("a", "AAAA", "fe80::1%eth0")), []string{"spec.records[0].values[0]"}},
		"two CNAMEs":              {acme(rec("a", "CNAME", "b.x", "c.x")), []string{"spec.records[0].values"}},
		"CNAME of the domain":     {acme(rec("@", "CNAME", "b.x")), []string{"spec.records[0].type"}},
		"NS of the domain":        {acme(rec("acme.test", "NS", "b.x")), []string{"spec.records[0].type"}},
		"CNAME beside A":          {acme(rec("a", "CNAME", "b.x"), rec("A.acme.test.", "A", "1.2.3.4")), []string{"spec.records[1]"}},
		"the same set twice":      {acme(rec("a", "A", "1.2.3.4"), rec("A", "a", "1.2.3.5")), []string{"spec.records[1]"}},
		"a circle":                {acme(rec("a", "CNAME", "b.acme.test"), rec("b", "CNAME", "a.acme.test")), []string{"spec.records[0].values[0]", "spec.records[1].values[0]"}},
		"itself":                  {acme(rec("a", "CNAME", "a.acme.test")), []string{"spec.records[0].values[0]"}},
		"a circle by a wildcard":  {acme(rec("*", "CNAME", "x.acme.test")), []string{"spec.records[0].values[0]"}},
		"SRV":                     {acme(rec("a", "SRV", "1 2 x y.z"), rec("b", "SRV", "1 2 3"), rec("c", "SRV", "65536 1 1 y.z")), []string{"spec.records[0].values[0]", "spec.records[1].values[0]", "spec.records[2].values[0]"}},
		"CAA":                     {acme(rec("a", "CAA", "256 issue x"), rec("b", "CAA", "0 is-sue x"), rec("c", "CAA", "0 issue")), []string{"spec.records[0].values[0]", "spec.records[1].values[0]", "spec.records[2].values[0]"}},
		"TXT":                     {acme(rec("a", "TXT", "line\nbreak"), rec("b", "TXT", strings.Repeat("x", 4097))), []string{"spec.records[0].values[0]", "spec.records[1].values[0]"}},
		"follows as TXT":          {acme(dns.RecordSpec{Name: "a", Type: "TXT", Resource: "lb"}), []string{"spec.records[0].resource"}},
		"follows and has values":  {acme(dns.RecordSpec{Name: "a", Type: "A", Resource: "lb", Values: []string{"1.2.3.4"}}), []string{"spec.records[0].values"}},
		"follows nothing by name": {acme(dns.RecordSpec{Name: "a", Type: "A", Resource: "l b"}), []string{"spec.records[0].resource"}},
	}
	for name, c := range cases {
		_, err := dns.CheckZone(omni.Metadata{Name: "shop", Tenant: "acme"}, c.spec)
		var wrong *omni.Error
		if !errors.As(err, &wrong) || wrong.Code != omni.CodeInvalid {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var paths []string
		for _, f := range wrong.Fields {
			paths = append(paths, f.Path)
			if f.Message == "" {
				t.Errorf("%s: %s has no message", name, f.Path)
			}
		}
		if fmt.Sprint(paths) != fmt.Sprint(c.paths) {
			t.Errorf("%s: %v, want %v", name, wrong.Fields, c.paths)
		}
	}
	if _, err := dns.CheckZone(omni.Metadata{Name: "Shop"}, acme()); err == nil || len(err.(*omni.Error).Fields) != 2 { //nolint:errorlint // that is its type
		t.Errorf("wrong metadata: %v", err)
	}
}

func TestManyWrongFieldsAndLargeZonesAreBounded(t *testing.T) {
	t.Parallel()
	var records []dns.RecordSpec
	for range 5000 {
		records = append(records, dns.RecordSpec{Name: "-", Type: "A", Values: []string{"x"}})
	}
	_, err := dns.CheckZone(omni.Metadata{Name: "shop", Tenant: "acme"}, acme(records...))
	var wrong *omni.Error
	if !errors.As(err, &wrong) || len(wrong.Fields) != 100 {
		t.Errorf("5000 wrong records: %v", err)
	}
	_, err = dns.CheckZone(omni.Metadata{Name: "shop", Tenant: "acme"}, acme(append(records, records[0])...))
	if !errors.As(err, &wrong) || len(wrong.Fields) != 1 || wrong.Fields[0].Path != "spec.records" {
		t.Errorf("too many records: %v", err)
	}
	deep := []dns.RecordSpec{}
	for i := range 12 {
		deep = append(deep, dns.RecordSpec{Name: fmt.Sprintf("c%d", i), Type: "CNAME", Values: []string{fmt.Sprintf("c%d.acme.test", i+1)}})
	}
	_, err = dns.CheckZone(omni.Metadata{Name: "shop", Tenant: "acme"}, acme(deep...))
	if !errors.As(err, &wrong) || !strings.Contains(wrong.Message, "deep") {
		t.Errorf("12 CNAMEs: %v", err)
	}
}
