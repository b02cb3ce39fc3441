package sqlite

import (
	"strings"
	"testing"
)

func TestBind(t *testing.T) {
	for _, c := range []struct {
		query string
		args  int
		want  string // "" is refused
	}{
		{`select 1`, 0, `select 1`},
		{`select $1, $2`, 2, `select ?1, ?2`},
		{`select $2, $1, $2`, 2, `select ?2, ?1, ?2`},
		{`select $12`, 12, `select ?12`},
		{`select '$1', "a$2", $1`, 1, `select '$1', "a$2", ?1`},
		{`select 'it''s $1', $1`, 1, `select 'it''s $1', ?1`},
		{"select $1 -- and $2\n, $2", 2, "select ?1 -- and $2\n, ?2"},
		{`select $1 /* $3 */`, 1, `select ?1 /* $3 */`},
		{`select '$1`, 0, `select '$1`},
		{`select $`, 0, `select $`},
		{`select $1`, 0, ``},
		{`select $1`, 2, ``},
		{`select 1`, 1, ``},
		{`select $99999999999999999999`, 1, ``},
	} {
		got, err := bind(c.query, c.args)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s with %d: %q, %v", c.query, c.args, got, err)
		}
	}
}

func FuzzBind(f *testing.F) {
	f.Add(`select $1, '$2' -- $3`)
	f.Add(`/* ' */ "$1`)
	f.Fuzz(func(t *testing.T, query string) {
		got, highest := renumber(query)
		if len(got) != len(query) || highest < 0 {
			t.Errorf("%q became %q", query, got)
		}
		if back := strings.ReplaceAll(got, "?", "$"); back != strings.ReplaceAll(query, "?", "$") {
			t.Errorf("%q became %q", query, got)
		}
	})
}
