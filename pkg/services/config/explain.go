package config

import (
	"reflect"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// KindInfo is a kind as users see it.
type KindInfo struct {
	Name       string `json:"name"`
	Plural     string `json:"plural"`
	APIVersion string `json:"api_version"`
	Tenanted   bool   `json:"tenanted"`
	Doc        string `json:"doc"`
}

// Explanation tells what can stand at one place of a manifest.
type Explanation struct {
	KindInfo
	Path string `json:"path,omitempty"`
	Type string `json:"type"`
	// FieldDoc is the meaning of the place; it has a name of its own beside KindInfo.Doc, or the API's description would lose one of them.
	FieldDoc string      `json:"field_doc,omitempty"`
	Fields   []FieldInfo `json:"fields,omitempty"`
}

// FieldInfo is one field. Path is from the top of the manifest, [] standing for the items of a list and {} for the values of a map.
type FieldInfo struct {
	Name     string      `json:"name"`
	Path     string      `json:"path"`
	Type     string      `json:"type"`
	Required bool        `json:"required"`
	Default  string      `json:"default,omitempty"`
	Doc      string      `json:"doc,omitempty"`
	Fields   []FieldInfo `json:"fields,omitempty"`
}

// explainDepth bounds types that hold themselves.
const explainDepth = 8

func (k Kind) info() KindInfo {
	return KindInfo{Name: k.Name, Plural: k.Plural, APIVersion: APIVersion, Tenanted: k.Tenanted, Doc: k.Doc}
}

// Explain tells what can stand at path, such as spec.placements.role, in a manifest of a kind (by name or plural). An empty
// path is the whole manifest. A kind or field that there is not is CodeNotFound.
func (r Registry) Explain(kind, path string) (Explanation, error) {
	k, err := r.Kind(kind)
	if err != nil {
		return Explanation{}, err
	}
	specDoc := "what is wanted"
	fields := []FieldInfo{
		{Name: "apiVersion", Path: "apiVersion", Type: "text", Required: true, Doc: "always " + APIVersion},
		{Name: "kind", Path: "kind", Type: "text", Required: true, Doc: "always " + k.Name},
		{Name: "metadata", Path: "metadata", Type: "object", Required: true, Doc: "what it is called and whose it is", Fields: metadataInfos(k)},
		{Name: "spec", Path: "spec", Type: "object", Required: needed(k.spec()), Doc: specDoc, Fields: infos(k.spec(), "spec", 0)},
	}
	out := Explanation{KindInfo: k.info(), Type: "object", Fields: fields}
	for _, name := range steps(path) {
		found := false
		for _, f := range out.Fields {
			if f.Name == name {
				out.Path, out.Type, out.FieldDoc, out.Fields, found = f.Path, f.Type, f.Doc, f.Fields, true
				break
			}
		}
		if !found {
			var names []string
			for _, f := range out.Fields {
				names = append(names, f.Name)
			}
			return Explanation{}, omni.Errorf(omni.CodeNotFound, "%s has no field %s at %s", k.Name, quoted(name), quoted(path)).
				WithHint("there are: %s", strings.Join(names, ", "))
		}
	}
	return out, nil
}

// steps cuts a path into names; indexes and [] are left out.
func steps(path string) []string {
	var out []string
	for step := range strings.SplitSeq(path, ".") {
		step, _, _ = strings.Cut(step, "[")
		if step = strings.TrimSuffix(step, "{}"); step != "" {
			out = append(out, step)
		}
	}
	return out
}

func metadataInfos(k Kind) []FieldInfo {
	var out []FieldInfo
	for _, f := range infos(reflect.TypeFor[omni.Metadata](), "metadata", 0) {
		if f.Name == "tenant" {
			if !k.Tenanted {
				continue
			}
			f.Required = true
		}
		out = append(out, f)
	}
	return out
}

// infos describes the fields of t and of what is below them.
func infos(t reflect.Type, path string, depth int) []FieldInfo {
	for suffix := ""; ; path += suffix {
		switch {
		case t.Kind() == reflect.Pointer:
			t, suffix = t.Elem(), ""
		case isText(t) || depth > explainDepth:
			return nil
		case t.Kind() == reflect.Slice:
			t, suffix = t.Elem(), "[]"
		case t.Kind() == reflect.Map:
			t, suffix = t.Elem(), "{}"
		case t.Kind() != reflect.Struct:
			return nil
		default:
			var out []FieldInfo
			for _, f := range fieldsOf(t) {
				at := path + "." + f.name
				out = append(out, FieldInfo{
					Name: f.name, Path: at, Type: typeName(f.typ), Required: f.required, Default: f.fallback, Doc: f.doc,
					Fields: infos(f.typ, at, depth+1),
				})
			}
			return out
		}
	}
}
