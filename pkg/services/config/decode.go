package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Bounds of one document.
const (
	maxDepth = 32        // of nesting
	maxText  = 64 << 10  // bytes of one scalar
	safeInt  = 1<<53 - 1 // the largest whole number that JSON keeps exactly (RFC 8259, section 6)
)

// decoder reads the nodes of one file into Go values. It goes on after a fault, so that all are found.
type decoder struct {
	file   string
	faults *faults
	budget int // how many nodes may still be visited
	// aliased is how many nodes may still be visited through aliases. An alias costs what it stands for, each time: that is
	// the end of an alias bomb.
	aliased int
	inside  int                 // how many aliases are being followed
	open    map[*yaml.Node]bool // anchors that are being followed
	at      map[string]position // of every path of the current document
	fields  map[reflect.Type][]field
}

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	d.faults.add(d.file, at(n), path, format, args...)
}

// enter counts a node, notes where it is, and follows it if it is an alias; leave must be called afterwards. ok is false when the
// node must not be read.
func (d *decoder) enter(n *yaml.Node, path string, depth int) (target *yaml.Node, leave func(), ok bool) {
	leave = func() {}
	if !d.spend(n, path) {
		return nil, leave, false
	}
	if _, known := d.at[path]; !known {
		d.at[path] = at(n)
	}
	if depth > maxDepth {
		d.fault(n, path, "is nested more than %d deep", maxDepth)
		return nil, leave, false
	}
	if n.Kind == yaml.AliasNode {
		target = n.Alias
		if target == nil || d.open[target] {
			d.fault(n, path, "is an alias of something that holds it")
			return nil, leave, false
		}
		d.inside++
		leave = func() { d.inside-- }
		n = target
	}
	if n.Anchor != "" {
		d.open[n] = true
		before := leave
		leave = func() { delete(d.open, n); before() }
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fault(n, path, "carries the tag %s; tags are not supported", quoted(n.Tag))
		return nil, leave, false
	}
	return n, leave, true
}

// spend counts a node against the budgets. False means that nothing more is read.
func (d *decoder) spend(n *yaml.Node, path string) bool {
	d.budget--
	if d.inside > 0 {
		d.aliased--
	}
	switch {
	case d.faults.full():
	case d.budget == -1:
		d.fault(n, path, "makes the file hold more than %d values", maxNodes)
	case d.aliased == -1:
		d.fault(n, path, "makes aliases stand for more than %d values; write them out, or use fewer", maxAliased)
		d.budget = min(d.budget, 0)
	}
	return !d.faults.full() && d.budget >= 0 && d.aliased >= 0
}

// null says whether a node gives no value, which counts as left out.
func null(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Style&yaml.TaggedStyle == 0 && n.ShortTag() == "!!null"
}

// decode reads n into out, which must be settable.
func (d *decoder) decode(n *yaml.Node, out reflect.Value, path string, depth int) {
	n, leave, ok := d.enter(n, path, depth)
	defer leave()
	if !ok || null(n) {
		return
	}
	if out.CanAddr() {
		if u, isText := reflect.TypeAssert[encoding.TextUnmarshaler](out.Addr()); isText {
			d.decodeText(n, u, path)
			return
		}
	}
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		d.decode(n, out.Elem(), path, depth)
	case reflect.Interface:
		if v := d.free(n, path, depth); v != nil {
			out.Set(reflect.ValueOf(v))
		}
	case reflect.Struct:
		d.decodeStruct(n, out, path, depth)
	case reflect.Map:
		d.decodeMap(n, out, path, depth)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fault(n, path, "must be a list, not %s", shape(n))
			return
		}
		out.Set(reflect.MakeSlice(out.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.decode(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
	default:
		d.decodeScalar(n, out, path)
	}
}

func (d *decoder) decodeText(n *yaml.Node, u encoding.TextUnmarshaler, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "must be text, not %s", shape(n))
		return
	}
	if len(n.Value) > maxQuoted {
		d.fault(n, path, "is too long")
		return
	}
	if err := u.UnmarshalText([]byte(n.Value)); err != nil {
		d.fault(n, path, "%s", err.Error())
	}
}

// pair is one entry of a mapping.
type pair struct {
	name       string
	key, value *yaml.Node
}

// pairs gives the entries of a mapping with keys of plain text, each once.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "must be an object (name: value), not %s", shape(n))
		return nil
	}
	out := make([]pair, 0, len(n.Content)/2)
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Value == "<<" && key.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
			d.fault(key, path, "merges with <<, which is not supported; repeat the fields, or use an alias for the whole value")
			continue
		}
		if key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 {
			d.fault(key, path, "has a key that is not plain text")
			continue
		}
		if r, found := hidden(key.Value, true); found || key.Value == "" || len(key.Value) > 256 {
			d.fault(key, path, "has the key %s, which is not 1 to 256 visible characters%s", quoted(key.Value), culprit(r, found))
			continue
		}
		if first, twice := seen[key.Value]; twice {
			d.fault(key, join(path, key.Value), "is given twice; the first is on line %d", first.Line)
			continue
		}
		seen[key.Value] = key
		out = append(out, pair{name: key.Value, key: key, value: value})
	}
	return out
}

func culprit(r rune, found bool) string {
	if !found {
		return ""
	}
	return fmt.Sprintf(" (it holds U+%04X)", r)
}

func (d *decoder) decodeStruct(n *yaml.Node, out reflect.Value, path string, depth int) {
	fields, ok := d.fields[out.Type()]
	if !ok {
		fields = fieldsOf(out.Type())
		d.fields[out.Type()] = fields
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "must be an object (name: value), not %s", shape(n))
		return
	}
	given := map[string]bool{}
	for _, p := range d.pairs(n, path) {
		f, known := find(fields, p.name)
		if !known {
			d.unknown(p, path, fields)
			continue
		}
		given[f.name] = !null(follow(p.value))
		d.decode(p.value, out.FieldByIndex(f.index), join(path, f.name), depth+1)
	}
	for _, f := range fields {
		if f.required && !given[f.name] {
			d.fault(n, join(path, f.name), "is missing")
		}
	}
}

func find(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// unknown reports a field that is not one, and which one was probably meant.
func (d *decoder) unknown(p pair, path string, fields []field) {
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
	}
	hint := ""
	if near := nearest(p.name, names); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	d.fault(p.key, join(path, plain(p.name)), "is not a field that is known here%s", hint)
}

func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func (d *decoder) decodeMap(n *yaml.Node, out reflect.Value, path string, depth int) {
	pairs := d.pairs(n, path)
	if pairs == nil {
		return
	}
	t := out.Type()
	m := reflect.MakeMapWithSize(t, len(pairs))
	for _, p := range pairs {
		value := reflect.New(t.Elem()).Elem()
		d.decode(p.value, value, join(path, p.name), depth+1)
		m.SetMapIndex(reflect.ValueOf(p.name).Convert(t.Key()), value)
	}
	out.Set(m)
}

func (d *decoder) decodeScalar(n *yaml.Node, out reflect.Value, path string) {
	want := typeName(out.Type())
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "must be %s, not %s", want, shape(n))
		return
	}
	tag := n.ShortTag()
	number := tag == "!!int" || tag == "!!float"
	switch out.Kind() {
	case reflect.String:
		d.decodeString(n, out, path, tag)
	case reflect.Bool:
		if tag != "!!bool" {
			d.fault(n, path, "must be true or false, not %s", shape(n))
			return
		}
		out.SetBool(n.Value == "true" || n.Value == "True" || n.Value == "TRUE")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v, err := strconv.ParseInt(n.Value, 10, out.Type().Bits())
		if d.wholeNumber(n, path, number, err) {
			out.SetInt(v)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v, err := strconv.ParseUint(n.Value, 10, out.Type().Bits())
		if d.wholeNumber(n, path, number, err) {
			out.SetUint(v)
		}
	case reflect.Float32, reflect.Float64:
		v, err := strconv.ParseFloat(n.Value, out.Type().Bits())
		if !number || err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			d.fault(n, path, "must be a number, not %s", shape(n))
			return
		}
		out.SetFloat(v)
	default:
		d.fault(n, path, "cannot be given in a manifest")
	}
}

// wholeNumber judges what came of reading a whole number. YAML's other notations are refused, since 010 is 8 to some and
// 10 to others.
func (d *decoder) wholeNumber(n *yaml.Node, path string, number bool, err error) bool {
	switch {
	case errors.Is(err, strconv.ErrRange):
		d.fault(n, path, "is too large or too small: %s", quoted(n.Value))
	case !number || err != nil || leadingZero(n.Value):
		d.fault(n, path, "must be a whole number in decimal, not %s", shape(n))
	default:
		return true
	}
	return false
}

func leadingZero(s string) bool {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		s = s[1:]
	}
	return len(s) > 1 && s[0] == '0'
}

func (d *decoder) decodeString(n *yaml.Node, out reflect.Value, path, tag string) {
	if tag != "!!str" && tag != "!!timestamp" {
		d.fault(n, path, `must be text, not %s; put it in quotes: "%s"`, shape(n), plain(n.Value))
		return
	}
	if d.text(n, path) {
		out.SetString(n.Value)
	}
}

// text checks a scalar that is kept as text.
func (d *decoder) text(n *yaml.Node, path string) bool {
	if len(n.Value) > maxText {
		d.fault(n, path, "is longer than %d bytes", maxText)
		return false
	}
	if r, found := hidden(n.Value, false); found {
		d.fault(n, path, "holds the invisible character U+%04X", r)
		return false
	}
	return true
}

// free reads a value whose form is not told, as encoding/json would: maps, lists, texts, numbers as float64, booleans.
func (d *decoder) free(n *yaml.Node, path string, depth int) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, p := range d.pairs(n, path) {
			var v any
			d.decode(p.value, reflect.ValueOf(&v).Elem(), join(path, p.name), depth+1)
			out[p.name] = v
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			d.decode(item, reflect.ValueOf(&out[i]).Elem(), fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
		return out
	default:
		return d.freeScalar(n, path)
	}
}

func (d *decoder) freeScalar(n *yaml.Node, path string) any {
	var number float64
	var whole int64
	var truth bool
	switch n.ShortTag() {
	case "!!bool":
		d.decodeScalar(n, reflect.ValueOf(&truth).Elem(), path)
		return truth
	case "!!int":
		d.decodeScalar(n, reflect.ValueOf(&whole).Elem(), path)
		if whole > safeInt || whole < -safeInt {
			d.fault(n, path, "is a whole number that JSON does not keep exactly; put it in quotes")
		}
		return float64(whole)
	case "!!float":
		d.decodeScalar(n, reflect.ValueOf(&number).Elem(), path)
		return number
	}
	if !d.text(n, path) {
		return nil
	}
	return n.Value
}

// shape says what a node is, for a message.
func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	default:
	}
	switch n.ShortTag() {
	case "!!str":
		return "the text " + quoted(n.Value)
	case "!!null":
		return "nothing"
	}
	return plain(n.Value)
}

// join appends a field's name to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
