package rest

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Permissions with a meaning of their own; all others are "<noun>.<verb>".
const (
	Public        = "public"        // nobody needs a key
	Authenticated = "authenticated" // any valid key will do
)

// Prefix begins the path of every route.
const Prefix = "/api/v1/"

// Route declares one operation. Method, Path (whole, from /api/v1 on, with {name} for its parameters), ID and Permission must be
// given: a route without a permission is an error of API.Check, and answers 403.
type Route struct {
	Method      string
	Path        string
	ID          string // unique, such as list-regions
	Summary     string
	Tag         string
	Permission  string
	Status      int           // of success; 0 means 200, or 204 when the output has no Body
	MaxBody     int64         // bytes; 0 means that of the API
	Timeout     time.Duration // until the handler's context ends; 0 means that of the API. Streams have none
	Secret      bool          // the answer shows a secret: it is never kept, so an Idempotency-Key answers 409 the second time
	Description string
}

// registered is a Route with what New and huma know of it.
type registered struct {
	Route
	pattern  string
	accepts  map[string]bool // media types of the body; empty when it takes none
	required bool            // the body must be there
	stream   bool
}

// Handle adds a route whose input and output are huma's structs: fields tagged path, query or header, and Body. An error of h
// becomes a Problem. What is wrong with the declaration is kept for API.Check.
func Handle[I, O any](api *API, r Route, h func(context.Context, *I) (*O, error)) {
	handle(api, &registered{Route: r}, h)
}

func handle[I, O any](api *API, rt *registered, h func(context.Context, *I) (*O, error)) {
	if name := hiddenField(reflect.TypeFor[I]()); name != "" {
		api.fault(fmt.Errorf("route %s %s: its input embeds %s, whose parameters huma does not see: name them, or embed an exported type", rt.Method, rt.Path, name))
	}
	api.register(rt, func() {
		huma.Register(api.huma, rt.operation(api), func(ctx context.Context, in *I) (*O, error) {
			out, err := h(ctx, in)
			if err != nil {
				return nil, api.problem(ctx, err)
			}
			return out, nil
		})
	})
}

// hiddenField gives the name of an embedded type that is not exported; "" when there is none.
func hiddenField(t reflect.Type) string {
	if t.Kind() != reflect.Struct {
		return ""
	}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous && !f.IsExported() {
			return f.Name
		}
	}
	return ""
}

// fault keeps what is wrong for Check.
func (a *API) fault(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, err)
}

// register runs add, which makes huma hand the route to API.HandleFunc, and collects what is wrong.
func (a *API) register(rt *registered, add func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.routes = append(a.routes, rt.Route)
	name := rt.Method + " " + rt.Path
	if rt.Permission == "" {
		a.faults = append(a.faults, fmt.Errorf("route %s: declares no permission; name one, or rest.Public", name))
	}
	if !strings.HasPrefix(rt.Path, Prefix) {
		a.faults = append(a.faults, fmt.Errorf("route %s: must begin with %s", name, Prefix))
	}
	if rt.ID == "" || a.ids[rt.ID] {
		a.faults = append(a.faults, fmt.Errorf("route %s: needs an ID of its own, not %q", name, rt.ID))
	}
	a.ids[rt.ID] = true
	rt.pattern = rt.Path
	a.pending = rt
	defer func() {
		a.pending = nil
		if p := recover(); p != nil { // huma and the mux refuse what they cannot serve by panicking
			a.faults = append(a.faults, fmt.Errorf("route %s: %v", name, p))
		}
	}()
	add()
	rt.learn(a.huma.OpenAPI())
}

// operation is what huma is told. The body is read and bounded before huma sees it, so huma's own limit and deadline are lifted.
func (rt *registered) operation(api *API) huma.Operation {
	op := huma.Operation{
		OperationID:     rt.ID,
		Method:          rt.Method,
		Path:            rt.Path,
		Summary:         rt.Summary,
		Description:     rt.Description,
		DefaultStatus:   rt.Status,
		MaxBodyBytes:    api.limit(rt) + 1,
		BodyReadTimeout: -1,
		Extensions:      map[string]any{"x-permission": rt.Permission},
	}
	if rt.Tag != "" {
		op.Tags = []string{rt.Tag}
	}
	if rt.Permission != Public {
		op.Security = []map[string][]string{{"bearer": {}}}
	}
	if rt.Method == http.MethodPost && !rt.stream {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: idempotencyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "makes a repeat safe: the same key and body get the stored answer",
		})
	}
	return op
}

// learn reads from the description which bodies the route takes.
func (rt *registered) learn(doc *huma.OpenAPI) {
	item := doc.Paths[rt.Path]
	if item == nil {
		return
	}
	ops := map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPut: item.Put, http.MethodPost: item.Post,
		http.MethodDelete: item.Delete, http.MethodPatch: item.Patch,
	}
	op := ops[rt.Method]
	if op == nil || op.RequestBody == nil {
		return
	}
	rt.required = op.RequestBody.Required
	rt.accepts = map[string]bool{}
	for mediaType := range op.RequestBody.Content {
		rt.accepts[mediaType] = true
	}
}

// schemaNames gives each type of the API a name of its own in the description: RegionSpec of package infra is InfraRegionSpec.
func schemaNames() func(reflect.Type, string) string {
	names := map[reflect.Type]string{}
	taken := map[string]bool{}
	return func(t reflect.Type, hint string) string {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if name, ok := names[t]; ok {
			return name
		}
		base := typeName(t, hint)
		name := base
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s%d", base, n)
		}
		names[t], taken[name] = name, true
		return name
	}
}

func typeName(t reflect.Type, hint string) string {
	name := t.Name()
	if name == "" {
		name = hint
	} else if i := strings.LastIndexByte(t.PkgPath(), '/'); i >= 0 {
		name = t.PkgPath()[i+1:] + "." + name
	}
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("[]*, ", r) }) {
		part = part[strings.LastIndexByte(part, '/')+1:]
		for _, word := range strings.FieldsFunc(part, func(r rune) bool { return r == '.' || r == '-' || r == '·' }) {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// Allowed says whether identity may do what needs permission.
func Allowed(identity omni.Identity, permission string) bool {
	if permission == "" {
		return false
	}
	for _, held := range identity.Permissions {
		if held == "*" || held == permission {
			return true
		}
	}
	return permission == Public || permission == Authenticated && identity.Actor != ""
}
