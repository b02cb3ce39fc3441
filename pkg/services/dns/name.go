package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Bounds of names in octets (RFC 1035 §2.3.4), as they are written with the final dot.
const (
	maxNameLength = 254
	maxLabel      = 63
)

// hostName makes a canonical name of text: lower case, with the final dot. Its labels are of a–z, 0–9, '-' and '_'; the first
// one may be '*' if wild says so.
func hostName(text string, wild bool) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if name == "" {
		return "", errors.New("must not be empty")
	}
	if len(name)+1 > maxNameLength {
		return "", fmt.Errorf("must not be longer than %d characters", maxNameLength-1)
	}
	for i, label := range strings.Split(name, ".") {
		if wild && i == 0 && label == "*" {
			continue
		}
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return name + ".", nil
}

func checkLabel(label string) error {
	if label == "" {
		return errors.New("must not have an empty label (two dots in a row, or one at the start)")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("the label %.20q… must not be longer than %d characters", label, maxLabel)
	}
	for _, c := range []byte(label) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("the label %q must be of a–z, 0–9, '-' and '_'", label)
		}
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return fmt.Errorf("the label %q must not begin or end with '-'", label)
	}
	return nil
}

// ownerName makes a whole name of a record's name in a manifest. One that ends with the domain is taken as whole, with or
// without the final dot.
func ownerName(text, domain string) (string, error) {
	lower := strings.ToLower(text)
	switch {
	case lower == "@":
		return domain, nil
	case strings.HasSuffix(lower, "."):
		if !within(lower, domain) {
			return "", fmt.Errorf("must be within %s", domain)
		}
	case !within(lower+".", domain):
		lower += "." + domain
	}
	return hostName(lower, true)
}

// within says whether name is domain or below it.
func within(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

// ancestors lists the names above name, the root left out, nearest first.
func ancestors(name string) []string {
	var list []string
	for {
		_, rest, found := strings.Cut(name, ".")
		if !found || rest == "" {
			return list
		}
		list = append(list, rest)
		name = rest
	}
}

// contactName makes the SOA's form of a mail address: its first label is the part before '@'.
func contactName(text, domain string) (string, error) {
	if text == "" {
		text = "hostmaster." + domain
	}
	if local, host, found := strings.Cut(text, "@"); found {
		if strings.Contains(local, ".") {
			return "", errors.New("the part before '@' must not hold a dot")
		}
		text = local + "." + host
	}
	return hostName(text, false)
}

// canonicalValue checks a value of a record of type typ and gives the one form in which it is stored and compared.
func canonicalValue(typ, value string) (string, error) {
	switch typ {
	case "A", "AAAA":
		return canonicalAddress(typ, value)
	case "CNAME", "NS":
		return hostName(value, false)
	case "TXT":
		return canonicalText(value)
	case "SRV":
		return canonicalSRV(value)
	case "CAA":
		return canonicalCAA(value)
	}
	return "", fmt.Errorf("records of type %.20q are not held", typ)
}

func canonicalAddress(typ, value string) (string, error) {
	addr, err := netip.ParseAddr(value)
	switch {
	case err != nil || addr.Zone() != "":
		return "", fmt.Errorf("%.60q is not an IP address", value)
	case typ == "A" && !addr.Is4():
		return "", fmt.Errorf("%.60q is not an IPv4 address; use type AAAA", value)
	case typ == "AAAA" && (addr.Is4() || addr.Is4In6()):
		return "", fmt.Errorf("%.60q is not an IPv6 address; use type A", value)
	}
	return addr.String(), nil
}

const maxText = 4096

func canonicalText(value string) (string, error) {
	if len(value) > maxText {
		return "", fmt.Errorf("must not be longer than %d bytes", maxText)
	}
	for _, c := range []byte(value) {
		if c < 0x20 || c == 0x7f {
			return "", errors.New("must not hold control characters")
		}
	}
	return value, nil
}

func canonicalSRV(value string) (string, error) {
	parts := strings.Fields(value)
	if len(parts) != 4 {
		return "", errors.New("must be 'priority weight port target', such as '10 5 5432 db1.acme.test.'")
	}
	for i, field := range []string{"priority", "weight", "port"} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return "", fmt.Errorf("the %s %.20q must be a number from 0 to 65535", field, parts[i])
		}
		parts[i] = strconv.FormatUint(n, 10)
	}
	if parts[3] == "." { // the service is decidedly not available (RFC 2782)
		return strings.Join(parts, " "), nil
	}
	target, err := hostName(parts[3], false)
	if err != nil {
		return "", fmt.Errorf("the target: %w", err)
	}
	parts[3] = target
	return strings.Join(parts, " "), nil
}

func canonicalCAA(value string) (string, error) {
	parts := strings.SplitN(strings.TrimSpace(value), " ", 3)
	if len(parts) != 3 {
		return "", errors.New(`must be 'flags tag value', such as '0 issue "ca.example"'`)
	}
	flags, err := strconv.ParseUint(parts[0], 10, 8)
	if err != nil {
		return "", fmt.Errorf("the flags %.20q must be a number from 0 to 255", parts[0])
	}
	tag := strings.ToLower(parts[1])
	if tag == "" || len(tag) > 15 || strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", fmt.Errorf("the tag %.20q must be 1 to 15 letters and digits, such as issue", parts[1])
	}
	text := strings.TrimSpace(parts[2])
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	if text, err = canonicalText(text); err != nil {
		return "", err
	}
	return fmt.Sprintf(`%d %s "%s"`, flags, tag, text), nil
}

// record makes a record for the wire of a canonical value.
func record(name, typ string, ttl uint32, value string) (dns.RR, error) {
	header := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: ttl}
	switch typ {
	case "A", "AAAA":
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return nil, err
		}
		if header.Rrtype = dns.TypeA; typ == "A" {
			return &dns.A{Hdr: header, A: addr.AsSlice()}, nil
		}
		header.Rrtype = dns.TypeAAAA
		return &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}, nil
	case "CNAME":
		header.Rrtype = dns.TypeCNAME
		return &dns.CNAME{Hdr: header, Target: value}, nil
	case "NS":
		header.Rrtype = dns.TypeNS
		return &dns.NS{Hdr: header, Ns: value}, nil
	case "TXT":
		header.Rrtype = dns.TypeTXT
		return &dns.TXT{Hdr: header, Txt: textChunks(value)}, nil
	case "SRV":
		return srvRecord(header, value)
	case "CAA":
		return caaRecord(header, value)
	}
	return nil, fmt.Errorf("records of type %q are not held", typ)
}

func srvRecord(header dns.RR_Header, value string) (dns.RR, error) {
	header.Rrtype = dns.TypeSRV
	rr := &dns.SRV{Hdr: header}
	if _, err := fmt.Sscan(value, &rr.Priority, &rr.Weight, &rr.Port, &rr.Target); err != nil {
		return nil, fmt.Errorf("the SRV value %q: %w", value, err)
	}
	return rr, nil
}

func caaRecord(header dns.RR_Header, value string) (dns.RR, error) {
	header.Rrtype = dns.TypeCAA
	parts := strings.SplitN(value, " ", 3)
	if len(parts) != 3 || len(parts[2]) < 2 {
		return nil, fmt.Errorf("the CAA value %q is not one", value)
	}
	flags, err := strconv.ParseUint(parts[0], 10, 8)
	if err != nil {
		return nil, fmt.Errorf("the CAA value %q: %w", value, err)
	}
	return &dns.CAA{Hdr: header, Flag: uint8(flags), Tag: parts[1], Value: escape(parts[2][1 : len(parts[2])-1])}, nil
}

// textChunks cuts a text into the character strings of at most 255 octets that TXT is made of.
func textChunks(value string) []string {
	var chunks []string
	for len(value) > 255 {
		chunks = append(chunks, escape(value[:255]))
		value = value[255:]
	}
	return append(chunks, escape(value))
}

// escape writes octets as miekg/dns keeps them: in the presentation form of zone files (RFC 1035 §5.1).
func escape(octets string) string {
	var b strings.Builder
	for _, c := range []byte(octets) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c > 0x7e:
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
