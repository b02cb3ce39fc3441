package httpdriver

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/provider"
)

// Limits of the timeout of one action.
const (
	DefaultTimeout = 30 * time.Second
	MinTimeout     = 10 * time.Millisecond
	MaxTimeout     = time.Hour
)

// settings is what a placement's config says.
type settings struct {
	url     *url.URL
	timeout time.Duration
	headers map[string]string
}

func read(config map[string]any) (settings, *provider.Settings) {
	s := provider.ReadSettings(config)
	out := settings{
		url:     &url.URL{},
		timeout: s.Duration("timeout", DefaultTimeout, MinTimeout, MaxTimeout),
		headers: s.Pairs("headers"),
	}
	parsed, err := url.Parse(s.Text("url"))
	switch {
	case err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "":
		s.Fault("url", "must be where the agent answers, such as http://127.0.0.1:9000/agent")
	case parsed.Fragment != "":
		s.Fault("url", "must not have a fragment (#…)")
	default:
		out.url = parsed
	}
	for _, name := range slices.Sorted(maps.Keys(out.headers)) {
		path := "headers." + provider.Shorten(name, 64)
		switch {
		case !isToken(name):
			s.Fault(path, "is not the name of a header")
		case reserved(name):
			s.Fault(path, "is set by omnid and cannot be given")
		case strings.ContainsFunc(out.headers[name], func(r rune) bool { return (r < ' ' && r != '\t') || r == 0x7f }):
			s.Fault(path, "must be one line of printable text")
		}
	}
	return out, s
}

// isToken says whether name has the form of a header's name (RFC 9110 §5.6.2).
func isToken(name string) bool {
	const marks = "!#$%&'*+-.^_`|~"
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		letter := (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9')
		return !letter && !strings.ContainsRune(marks, r)
	})
}

// reserved says whether a header belongs to the driver or to the connection.
func reserved(name string) bool {
	return slices.ContainsFunc([]string{
		"Accept", "Connection", "Content-Length", "Content-Type", "Expect", "Idempotency-Key", "Keep-Alive",
		"Te", "Trailer", "Traceparent", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Request-ID",
	}, func(own string) bool { return strings.EqualFold(own, name) })
}
