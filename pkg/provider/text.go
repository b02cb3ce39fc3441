package provider

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is how much of what a target writes for people is kept, in bytes: the last lines of stderr, a message.
const MaxText = 4 << 10

// Shorten gives s with at most limit bytes, cut between runes, with "…" in place of what was left out.
func Shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:max(cut, 0)] + "…"
}

// Clean makes text of a target fit to be shown and stored: valid UTF-8 without control characters other than line
// breaks and tabs, without blanks at its ends, at most MaxText bytes.
func Clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == utf8.RuneError || unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return Shorten(strings.TrimSpace(s), MaxText)
}

// Tail is an io.Writer that keeps the last lines written to it, at most MaxText bytes, and takes any amount. It is not safe
// for concurrent use. The zero Tail is ready.
type Tail struct {
	buf []byte
	cut bool
}

// Write implements io.Writer; it never fails.
func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > MaxText {
		p, t.cut = p[len(p)-MaxText:], true
	}
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - MaxText; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
		t.cut = true
	}
	return n, nil
}

// String gives what is kept, cleaned, from the start of a line when something before it was dropped.
func (t *Tail) String() string {
	kept := string(t.buf)
	if t.cut {
		if _, rest, ok := strings.Cut(kept, "\n"); ok && strings.TrimSpace(rest) != "" {
			kept = rest
		}
	}
	return Clean(kept)
}
