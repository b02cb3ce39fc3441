package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// These tests look inside: the parser has no other door.

func TestParseForwarded(t *testing.T) {
	for header, want := range map[string][]string{
		"":                               nil,
		"for=192.0.2.1":                  {"192.0.2.1"},
		`for="[2001:db8::1]:80"`:         {"[2001:db8::1]:80"},
		"for=192.0.2.1:80":               {"192.0.2.1:80"},
		"by=a;FOR=b , proto=https;for=c": {"b", "c"},
		"proto=https":                    {""},
		`for="a\"b"`:                     {`a"b`},
		"for=a,":                         nil,
		"for=a;":                         nil,
		"for":                            nil,
		"for=":                           nil,
		`for="a`:                         nil,
		`for="a\`:                        nil,
		"for=a b":                        nil,
		",":                              nil,
		`for="a,for=b"`:                  {"a,for=b"},
	} {
		if got := parseForwarded(header); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{`for=192.0.2.1`, `for="[2001:db8::1]:80";by=x, for=_a`, `for="\"`, `=`, `,,`} {
		f.Add(seed)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	peer := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, header string) {
		nodes := parseForwarded(header)
		if len(nodes) > strings.Count(header, ",")+1 {
			t.Fatalf("%q has %d nodes", header, len(nodes))
		}
		client, moved := walk(peer, nodes, trusted)
		if !client.IsValid() || !moved && client != peer {
			t.Fatalf("%q gives %v, %t", header, client, moved)
		}
	})
}
