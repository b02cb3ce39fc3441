package dns

import (
	"strings"

	"github.com/miekg/dns"
)

// Sizes of answers over UDP in octets: without EDNS (RFC 1035), and the most that we send or promise to take with it, which no
// path fragments (DNS flag day 2020).
const (
	minUDP = dns.MinMsgSize
	maxUDP = 1232
)

// answer makes the answer to a query. It trusts nothing in it.
func (c *catalog) answer(query *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(query)
	m.Compress = true
	if len(query.Question) != 1 || query.Response {
		m.Question = nil
		m.Rcode = dns.RcodeFormatError
		return m
	}
	m.RecursionAvailable = false
	size := edns(query, m)
	switch q := query.Question[0]; {
	case m.Rcode != dns.RcodeSuccess: // EDNS said no
	case query.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
	case q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY, q.Qtype == dns.TypeAXFR, q.Qtype == dns.TypeIXFR, q.Qtype == dns.TypeOPT:
		m.Rcode = dns.RcodeRefused
	default:
		c.resolve(q, m)
	}
	if udp {
		m.Truncate(size)
	}
	return m
}

// edns answers an OPT record with ours (RFC 6891), and gives how large the answer may be over UDP.
func edns(query, m *dns.Msg) int {
	opts := 0
	for _, rr := range query.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			opts++
		}
	}
	opt := query.IsEdns0()
	if opt == nil {
		return minUDP
	}
	m.SetEdns0(maxUDP, opt.Do())
	switch {
	case opts > 1:
		m.Rcode = dns.RcodeFormatError
	case opt.Version() != 0:
		m.Rcode = dns.RcodeBadVers
	}
	return max(minUDP, min(maxUDP, int(opt.UDPSize())))
}

// resolve fills in the answer to q.
func (c *catalog) resolve(q dns.Question, m *dns.Msg) {
	name := plain(q.Name)
	zone := c.find(name)
	if zone == nil {
		m.Rcode = dns.RcodeRefused
		return
	}
	m.Authoritative = true
	owner := q.Name // as it was asked, so that the answer repeats its letters' case
	for range maxChain + 1 {
		n, cut := zone.lookup(name)
		switch {
		case cut != "":
			c.refer(zone, cut, m)
			return
		case n == nil:
			m.Rcode = dns.RcodeNameError
			m.Ns = append(m.Ns, zone.negative)
			return
		case q.Qtype == dns.TypeANY:
			m.Answer = append(m.Answer, minimalANY(owner, zone))
			return
		case len(n.sets[q.Qtype]) > 0:
			m.Answer = appendAs(m.Answer, owner, n.sets[q.Qtype])
			c.glue(zone, n.sets[q.Qtype], m)
			return
		case len(n.sets[dns.TypeCNAME]) == 0:
			m.Ns = append(m.Ns, zone.negative) // NODATA
			return
		}
		m.Answer = appendAs(m.Answer, owner, n.sets[dns.TypeCNAME])
		alias, ok := n.sets[dns.TypeCNAME][0].(*dns.CNAME)
		if !ok {
			break
		}
		owner, name = alias.Target, strings.ToLower(alias.Target)
		next := c.find(name)
		if next == nil || next.tenant != zone.tenant {
			return // somebody else's to answer
		}
		zone = next
	}
	// Too deep, or a circle, which apply refuses.
	m.Answer, m.Authoritative = nil, false
	m.Rcode = dns.RcodeServerFailure
}

// plain is a name in lower case in which every dot parts two labels. No zone holds a name that needs an escape, so what stands
// in its place only must not be met by accident.
func plain(name string) string {
	name = strings.ToLower(name)
	if !strings.Contains(name, `\.`) {
		return name
	}
	labels := dns.SplitDomainName(name)
	for i := range labels {
		labels[i] = strings.ReplaceAll(labels[i], ".", "?")
	}
	return strings.Join(labels, ".") + "."
}

// refer sends the asker to the servers that a name is delegated to.
func (c *catalog) refer(zone *zoneData, cut string, m *dns.Msg) {
	servers := zone.nodes[cut].sets[dns.TypeNS]
	m.Authoritative = len(m.Answer) > 0 // the CNAMEs before it are ours
	m.Ns = append(m.Ns, servers...)
	c.glue(zone, servers, m)
}

// maxGlue bounds the additional records of an answer.
const maxGlue = 26

// glue adds the addresses of the servers that records name, as far as the zone has them.
func (c *catalog) glue(zone *zoneData, records []dns.RR, m *dns.Msg) {
	for _, rr := range records {
		var target string
		switch r := rr.(type) {
		case *dns.NS:
			target = r.Ns
		case *dns.SRV:
			target = r.Target
		default:
			return
		}
		n := zone.nodes[target]
		if n == nil {
			continue
		}
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if len(m.Extra)+len(n.sets[typ]) <= maxGlue {
				m.Extra = append(m.Extra, n.sets[typ]...)
			}
		}
	}
}

// minimalANY is the one record that answers ANY (RFC 8482 §4.2).
func minimalANY(owner string, zone *zoneData) dns.RR {
	return &dns.HINFO{
		Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: zone.soa.Hdr.Ttl},
		Cpu: "RFC8482", Os: "",
	}
}

// appendAs appends records under the name owner. Those of the catalog are shared and stay as they are.
func appendAs(answer []dns.RR, owner string, set []dns.RR) []dns.RR {
	for _, rr := range set {
		if rr.Header().Name != owner {
			rr = dns.Copy(rr)
			rr.Header().Name = owner
		}
		answer = append(answer, rr)
	}
	return answer
}
