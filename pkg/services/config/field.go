package config

import (
	"encoding"
	"reflect"
	"regexp"
	"strings"
)

// field is one field of a struct, as manifests see it.
type field struct {
	name     string
	index    []int
	typ      reflect.Type
	required bool
	doc      string
	fallback string // its default, as text; "" when it has none or it is not told
}

// fieldsOf lists the fields of a struct type. Embedded structs without a name of their own lend their fields.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, ok := sf.Tag.Lookup("yaml")
		if !ok {
			tag = sf.Tag.Get("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		if sf.Type.Kind() == reflect.Struct && (sf.Anonymous && name == "" || strings.Contains(options, "inline")) {
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				out = append(out, f)
			}
			continue
		}
		if !sf.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = strings.ToLower(sf.Name[:1]) + sf.Name[1:]
		}
		doc := sf.Tag.Get("doc")
		f := field{name: name, index: []int{i}, typ: sf.Type, doc: doc, fallback: sf.Tag.Get("default")}
		if f.fallback == "" {
			f.fallback = told(doc)
		}
		f.required = !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && needed(sf.Type)
		out = append(out, f)
	}
	return out
}

// needed says whether a value of type t that must be given says anything: a struct whose fields may all be left out may
// be left out itself.
func needed(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || isText(t) {
		return true
	}
	for _, f := range fieldsOf(t) {
		if f.required {
			return true
		}
	}
	return false
}

// told finds the default that a sentence of documentation tells of.
func told(doc string) string {
	if m := regexp.MustCompile(`(\S+) \(default\)`).FindStringSubmatch(doc); m != nil {
		return m[1]
	}
	if m := regexp.MustCompile(`\bdefault ([^;,.)]+)`).FindStringSubmatch(doc); m != nil {
		return strings.TrimSpace(m[1])
	}
	return ""
}

// isText says whether a value of type t reads itself from text.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// typeName says what a field takes, in words of manifests.
func typeName(t reflect.Type) string {
	switch {
	case strings.HasSuffix(t.String(), "omni.Duration"):
		return "duration"
	case isText(t):
		return "text"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "integer"
	case reflect.Slice, reflect.Array:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		return "map of " + typeName(t.Elem())
	case reflect.Struct:
		return "object"
	default:
		return "any"
	}
}
