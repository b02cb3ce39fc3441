package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of a JSON body.
const (
	MaxDepth  = 64  // of objects and arrays within each other
	maxNumber = 100 // bytes
)

// CheckJSON says whether data is one JSON value (RFC 8259) that means the same to every reader: no name twice in an object, no
// nesting beyond MaxDepth, UTF-8, no NUL, no number beyond float64. encoding/json lets these pass. The error is CodeInvalid and
// names path, line and column.
func CheckJSON(data []byte) error {
	c := &checker{data: data}
	c.space()
	f := c.value(1)
	if f == nil {
		c.space()
		if c.pos < len(data) {
			f = c.fault("there is more behind the end of the value")
		}
	}
	if f == nil {
		return nil
	}
	before := data[:min(f.pos, len(data))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	path := f.path
	if path == "" {
		path = "body"
	}
	return omni.Errorf(omni.CodeInvalid, "%s: %s (line %d, column %d)", path, f.message, line, column).
		WithFields(omni.FieldError{Path: path, Message: f.message, Line: line, Column: column}).
		WithHint("send one JSON value in UTF-8")
}

// fault is what is wrong at a position; the way back up adds the path.
type jsonFault struct {
	pos     int
	path    string
	message string
}

// within adds the outer part of the path: a name or an [index].
func (f *jsonFault) within(part string) *jsonFault {
	if len(f.path) < 1000 { // a hostile name must not make a huge answer
		switch {
		case f.path == "":
			f.path = part
		case f.path[0] == '[':
			f.path = part + f.path
		default:
			f.path = part + "." + f.path
		}
	}
	return f
}

type checker struct {
	data []byte
	pos  int
}

func (c *checker) fault(format string, args ...any) *jsonFault {
	return &jsonFault{pos: c.pos, message: fmt.Sprintf(format, args...)}
}

func (c *checker) space() {
	for c.pos < len(c.data) {
		switch c.data[c.pos] {
		case ' ', '\t', '\n', '\r':
			c.pos++
		default:
			return
		}
	}
}

// next gives the byte at the position, and 0 at the end, where no value has one.
func (c *checker) next() byte {
	if c.pos < len(c.data) {
		return c.data[c.pos]
	}
	return 0
}

// unexpected says what stands where something else should.
func (c *checker) unexpected(wanted string) *jsonFault {
	if c.pos >= len(c.data) {
		return c.fault("it ends where %s should stand", wanted)
	}
	r, _ := utf8.DecodeRune(c.data[c.pos:])
	return c.fault("%q stands where %s should", r, wanted)
}

func (c *checker) value(depth int) *jsonFault {
	switch b := c.next(); {
	case b == '{' || b == '[':
		if depth > MaxDepth {
			return c.fault("is nested deeper than %d levels", MaxDepth)
		}
		if b == '{' {
			return c.object(depth)
		}
		return c.array(depth)
	case b == '"':
		_, f := c.text()
		return f
	case b == '-' || b >= '0' && b <= '9':
		return c.number()
	case b == 't':
		return c.literal("true")
	case b == 'f':
		return c.literal("false")
	case b == 'n':
		return c.literal("null")
	}
	return c.unexpected("a value")
}

func (c *checker) literal(word string) *jsonFault {
	if !bytes.HasPrefix(c.data[c.pos:], []byte(word)) {
		return c.unexpected("a value")
	}
	c.pos += len(word)
	return nil
}

func (c *checker) object(depth int) *jsonFault {
	c.pos++
	seen := names{}
	for first := true; ; first = false {
		c.space()
		if first && c.next() == '}' {
			break
		}
		if c.next() != '"' {
			return c.unexpected("a name in quotes")
		}
		start := c.pos
		name, f := c.text()
		if f != nil {
			return f
		}
		if !seen.add(name) {
			return (&jsonFault{pos: start, message: "stands twice in the same object"}).within(shorten(name, 100))
		}
		c.space()
		if c.next() != ':' {
			return c.unexpected("':'").within(shorten(name, 100))
		}
		c.pos++
		c.space()
		if f := c.value(depth + 1); f != nil {
			return f.within(shorten(name, 100))
		}
		c.space()
		if c.next() != ',' {
			break
		}
		c.pos++
	}
	if c.next() != '}' {
		return c.unexpected("',' or '}'")
	}
	c.pos++
	return nil
}

func (c *checker) array(depth int) *jsonFault {
	c.pos++
	for i := 0; ; i++ {
		c.space()
		if i == 0 && c.next() == ']' {
			break
		}
		if f := c.value(depth + 1); f != nil {
			return f.within("[" + strconv.Itoa(i) + "]")
		}
		c.space()
		if c.next() != ',' {
			break
		}
		c.pos++
	}
	if c.next() != ']' {
		return c.unexpected("',' or ']'")
	}
	c.pos++
	return nil
}

// text passes a string, and gives it decoded.
func (c *checker) text() (string, *jsonFault) {
	start := c.pos
	c.pos++
	escaped := false
	for c.pos < len(c.data) {
		switch b := c.data[c.pos]; {
		case b == '"':
			c.pos++
			return c.decode(start, escaped)
		case b == '\\':
			escaped = true
			if f := c.escape(); f != nil {
				return "", f
			}
		case b < 0x20:
			return "", c.fault("a control character stands in a text without being escaped")
		case b < utf8.RuneSelf:
			c.pos++
		default:
			r, size := utf8.DecodeRune(c.data[c.pos:])
			if r == utf8.RuneError && size <= 1 {
				return "", c.fault("is not UTF-8")
			}
			c.pos += size
		}
	}
	return "", c.unexpected(`'"'`)
}

func (c *checker) decode(start int, escaped bool) (string, *jsonFault) {
	raw := c.data[start:c.pos]
	if !escaped {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", c.fault("is not a text")
	}
	return s, nil
}

// escape passes one escape sequence; a surrogate must come as a pair, and NUL not at all.
func (c *checker) escape() *jsonFault {
	c.pos++
	switch c.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		c.pos++
		return nil
	case 'u':
		unit, ok := c.unit()
		switch {
		case !ok:
			return c.fault(`\u is not followed by four hex digits`)
		case unit == 0:
			return c.fault("has a NUL")
		case unit < 0xd800 || unit > 0xdfff:
			return nil
		case unit < 0xdc00 && bytes.HasPrefix(c.data[c.pos:], []byte(`\u`)):
			c.pos++
			if low, ok := c.unit(); ok && low >= 0xdc00 && low <= 0xdfff {
				return nil
			}
		}
		return c.fault("has half of a surrogate pair")
	}
	return c.unexpected("an escape sequence")
}

// unit passes uXXXX.
func (c *checker) unit() (uint64, bool) {
	if len(c.data)-c.pos < 5 {
		return 0, false
	}
	digits := c.data[c.pos+1 : c.pos+5]
	if bytes.IndexByte(digits, '_') >= 0 || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(digits), 16, 16)
	if err != nil {
		return 0, false
	}
	c.pos += 5
	return unit, true
}

func (c *checker) digits() bool {
	start := c.pos
	for b := c.next(); b >= '0' && b <= '9'; b = c.next() {
		c.pos++
	}
	return c.pos > start
}

func (c *checker) number() *jsonFault {
	start := c.pos
	if c.next() == '-' {
		c.pos++
	}
	if c.next() == '0' {
		c.pos++
	} else if !c.digits() {
		return c.unexpected("a digit")
	}
	if c.next() == '.' {
		c.pos++
		if !c.digits() {
			return c.unexpected("a digit")
		}
	}
	if b := c.next(); b == 'e' || b == 'E' {
		c.pos++
		if b := c.next(); b == '+' || b == '-' {
			c.pos++
		}
		if !c.digits() {
			return c.unexpected("a digit")
		}
	}
	text := c.data[start:c.pos]
	if len(text) > maxNumber {
		return &jsonFault{pos: start, message: fmt.Sprintf("is a number of more than %d characters", maxNumber)}
	}
	if len(text) > 15 || bytes.ContainsAny(text, "eE") {
		if _, err := strconv.ParseFloat(string(text), 64); err != nil {
			return &jsonFault{pos: start, message: "is a number that is too large"}
		}
	}
	return nil
}

// names are those of one object: a list while they are few, then a set.
type names struct {
	few  []string
	many map[string]bool
}

const fewNames = 16

// add says false for a name that is there.
func (n *names) add(name string) bool {
	if n.many != nil {
		if n.many[name] {
			return false
		}
		n.many[name] = true
		return true
	}
	if slices.Contains(n.few, name) {
		return false
	}
	n.few = append(n.few, name)
	if len(n.few) > fewNames {
		n.many = make(map[string]bool, 2*len(n.few))
		for _, other := range n.few {
			n.many[other] = true
		}
	}
	return true
}
