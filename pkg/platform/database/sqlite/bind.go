package sqlite

import (
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// bind turns PostgreSQL's $1 into SQLite's ?1. SQLite would take $1 as a name, and number names in the order in which they
// first appear, so that "a = $2 and b = $1" would be bound the wrong way round. It also checks that there are as many
// arguments as placeholders: SQLite takes a missing one for null.
func bind(query string, args int) (string, error) {
	highest := 0
	if strings.IndexByte(query, '$') >= 0 {
		query, highest = renumber(query)
	}
	if highest != args {
		return "", omni.Errorf(omni.CodeInternal, "a statement has %d placeholders and was given %d arguments", highest, args)
	}
	return query, nil
}

// renumber rewrites placeholders outside of quotes and comments, and tells the highest.
func renumber(query string) (string, int) {
	out := []byte(query)
	highest := 0
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '\'' || c == '"':
			i = skip(query, i+1, string(c))
		case c == '-' && strings.HasPrefix(query[i:], "--"):
			i = skip(query, i+2, "\n")
		case c == '/' && strings.HasPrefix(query[i:], "/*"):
			i = skip(query, i+2, "*/")
		case c == '$':
			n := 0
			for j := i + 1; j < len(out) && out[j] >= '0' && out[j] <= '9' && n < 100_000; j++ {
				n = n*10 + int(out[j]-'0')
			}
			if n > 0 {
				out[i] = '?'
				highest = max(highest, n)
			}
		}
	}
	return string(out), highest
}

// skip gives the index of the last byte of end, which is looked for from i on; the end of query when it is missing. A doubled
// quote is the end of one text and the start of another, which comes to the same.
func skip(query string, i int, end string) int {
	at := strings.Index(query[i:], end)
	if at < 0 {
		return len(query)
	}
	return i + at + len(end) - 1
}
