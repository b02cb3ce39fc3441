package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// maxFaults is how many faults are reported; more help nobody.
const maxFaults = 50

// position is where something stands; it counts from 1.
type position struct{ line, column int }

func at(n *yaml.Node) position { return position{n.Line, n.Column} }

// faults collects what is wrong with some files.
type faults struct {
	list []omni.FieldError
	more int
}

func (f *faults) add(file string, p position, path, format string, args ...any) {
	if len(f.list) >= maxFaults {
		f.more++
		return
	}
	f.list = append(f.list, omni.FieldError{Path: path, Message: fmt.Sprintf(format, args...), File: file, Line: p.line, Column: p.column})
}

// full says that reading on would report nothing.
func (f *faults) full() bool { return f.more > 0 }

// err gives all faults as one error, nil if there are none.
func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b omni.FieldError) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	message := "the manifest is not valid: " + sentence(f.list[0])
	switch n := len(f.list) - 1; {
	case f.more > 0:
		message += fmt.Sprintf(" (and %d more; there are still others)", n)
	case n > 0:
		message += fmt.Sprintf(" (and %d more)", n)
	}
	return omni.Errorf(omni.CodeInvalid, "%s", message).WithFields(f.list...).
		WithHint("correct what is named; omnictl explain KIND shows the fields of a kind. Nothing was applied")
}

// sentence writes one fault as compilers do.
func sentence(f omni.FieldError) string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File + ":")
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:", f.Line)
	}
	if f.Column > 0 {
		fmt.Fprintf(&b, "%d:", f.Column)
	}
	if b.Len() > 0 {
		b.WriteString(" ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + " ")
	}
	return b.String() + f.Message
}

// maxQuoted is how much of a hostile text is repeated in a message, in runes.
const maxQuoted = 64

// quoted repeats a text of the input, short and printable.
func quoted(s string) string { return `"` + plain(s) + `"` }

// plain is quoted without the quotes.
func plain(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxQuoted {
			return b.String() + "…"
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// hidden gives the first character of s that does not show, or that turns the direction of those around it (Unicode UAX 9,
// "Trojan Source"). Line ends and tabs are let through in values, not in names.
func hidden(s string, name bool) (rune, bool) {
	for _, r := range s {
		switch {
		case !name && (r == '\n' || r == '\t' || r == '\r'):
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar, r == '\ufeff', r == '\u2028', r == '\u2029':
			return r, true
		case name && unicode.Is(unicode.Cf, r):
			return r, true
		}
	}
	return 0, false
}

// nearest gives the known name that unknown was probably meant to be, "" if none is near.
func nearest(unknown string, known []string) string {
	fold := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
	}
	if len(unknown) > omni.MaxName {
		return ""
	}
	best, distance := "", 3
	for _, k := range known {
		if d := edits(fold(unknown), fold(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance of two short texts.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
