package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how many proxies are believed.
const maxHops = 32

// clientAddress gives the address that a request comes from, and whether a proxy told it. Headers count only when the peer is
// trusted, and are read from their end: each trusted proxy vouches for the address before it, and the first that is not trusted
// is the client. A client may send one of the two headers itself through a proxy that only knows the other; when they
// disagree, neither counts.
func clientAddress(r *http.Request, trusted []netip.Prefix) (client netip.Addr, forwarded bool) {
	peer := netip.Addr{}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer = ap.Addr().Unmap()
	}
	if !contains(trusted, peer) {
		return peer, false
	}
	x, hasX := walk(peer, listed(r.Header.Values("X-Forwarded-For")), trusted)
	f, hasF := walk(peer, parseForwarded(strings.Join(r.Header.Values("Forwarded"), ",")), trusted)
	switch {
	case hasX && hasF && x != f:
		return peer, false
	case hasX:
		return x, true
	case hasF:
		return f, true
	}
	return peer, false
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

// walk goes from the peer towards the client for as long as the hops are trusted and named by an address.
func walk(peer netip.Addr, hops []string, trusted []netip.Prefix) (netip.Addr, bool) {
	at, moved := peer, false
	for i := len(hops) - 1; i >= 0 && len(hops)-i <= maxHops && contains(trusted, at); i-- {
		next, ok := parseNode(hops[i])
		if !ok {
			break
		}
		at, moved = next, true
	}
	return at, moved
}

// listed splits the lines of X-Forwarded-For.
func listed(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	parts := strings.Split(strings.Join(lines, ","), ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// parseNode reads an address with or without a port, as proxies write it: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1],
// [2001:db8::1]:80.
func parseNode(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			if a, err := netip.ParseAddr(inner); err == nil && a.Is6() {
				return a.Unmap().WithZone(""), true
			}
		}
	}
	return netip.Addr{}, false
}

// parseForwarded gives the for parameter of each element of a Forwarded header (RFC 7239), "" where it has none. A header that is
// not well formed gives none at all.
func parseForwarded(header string) []string {
	if strings.TrimSpace(header) == "" {
		return nil
	}
	p := &forwarded{rest: header}
	var out []string
	for {
		node, ok := p.element()
		if !ok {
			return nil
		}
		out = append(out, node)
		p.space()
		if p.rest == "" {
			return out
		}
		if !p.take(',') {
			return nil
		}
	}
}

// forwarded is a reader of that header.
type forwarded struct{ rest string }

func (p *forwarded) space() { p.rest = strings.TrimLeft(p.rest, " \t") }

func (p *forwarded) take(b byte) bool {
	if p.rest == "" || p.rest[0] != b {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// element reads pairs that are divided by semicolons; for may stand there once.
func (p *forwarded) element() (node string, ok bool) {
	seen := false
	for {
		p.space()
		name := p.token()
		if name == "" || !p.take('=') {
			return "", false
		}
		value, ok := p.value()
		if !ok {
			return "", false
		}
		if strings.EqualFold(name, "for") {
			if seen {
				return "", false
			}
			node, seen = value, true
		}
		p.space()
		if !p.take(';') {
			return node, true
		}
	}
}

func (p *forwarded) token() string {
	n := 0
	for n < len(p.rest) && isToken(p.rest[n]) {
		n++
	}
	token := p.rest[:n]
	p.rest = p.rest[n:]
	return token
}

// value reads a token or a quoted text. Addresses with a colon should be quoted, and are taken as they are by custom.
func (p *forwarded) value() (string, bool) {
	if !p.take('"') {
		n := 0
		for n < len(p.rest) && (isToken(p.rest[n]) || strings.IndexByte(":[]", p.rest[n]) >= 0) {
			n++
		}
		value := p.rest[:n]
		p.rest = p.rest[n:]
		return value, value != ""
	}
	var b strings.Builder
	for p.rest != "" {
		c := p.rest[0]
		p.rest = p.rest[1:]
		switch c {
		case '"':
			return b.String(), true
		case '\\':
			if p.rest == "" {
				return "", false
			}
			b.WriteByte(p.rest[0])
			p.rest = p.rest[1:]
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// isToken says whether c may stand in a token (RFC 9110, 5.6.2).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
