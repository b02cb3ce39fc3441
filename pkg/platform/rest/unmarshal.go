package rest

import (
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
)

// located stands between path and message in an error of unmarshal, which huma passes on as text only.
const located = "\x1f"

// unmarshal is json.Unmarshal whose error says where the fault stands, also when a type's own UnmarshalText or UnmarshalJSON made it.
func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	if _, untyped := v.(*any); untyped {
		return err
	}
	path, inner := locate(reflect.TypeOf(v).Elem(), data, 0)
	if inner == nil {
		inner = err
	}
	message := inner.Error()
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](inner); ok {
		message = "must be " + kindOf(wrongType.Type) + ", not " + wrongType.Value
	}
	return errors.New(path + located + message)
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number of type " + t.Kind().String()
	}
}

// locate finds the innermost value that does not decode into its part of t, and how it fails. The depth of data is bounded.
func locate(t reflect.Type, data []byte, depth int) (string, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	err := json.Unmarshal(data, reflect.New(t).Interface())
	if err == nil || depth > MaxDepth || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "", err
	}
	path, inner := "", error(nil)
	switch t.Kind() {
	case reflect.Struct:
		path, inner = locateField(t, data, depth)
	case reflect.Map:
		var parts map[string]json.RawMessage
		_ = json.Unmarshal(data, &parts) // when it is no object, the fault is here
		for name, part := range parts {
			if p, e := locate(t.Elem(), part, depth+1); e != nil {
				path, inner = inside(name, p), e
				break
			}
		}
	case reflect.Slice, reflect.Array:
		var parts []json.RawMessage
		_ = json.Unmarshal(data, &parts) // likewise
		for i, part := range parts {
			if p, e := locate(t.Elem(), part, depth+1); e != nil {
				path, inner = inside("["+strconv.Itoa(i)+"]", p), e
				break
			}
		}
	default:
	}
	if inner == nil {
		return "", err
	}
	return path, inner
}

func locateField(t reflect.Type, data []byte, depth int) (string, error) {
	var parts map[string]json.RawMessage
	_ = json.Unmarshal(data, &parts) // when it is no object, the fault is here
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		part, ok := parts[name]
		if !ok {
			continue
		}
		if p, e := locate(f.Type, part, depth+1); e != nil {
			return inside(name, p), e
		}
	}
	return "", nil
}

func inside(part, path string) string {
	if path == "" || path[0] == '[' {
		return part + path
	}
	return part + "." + path
}
