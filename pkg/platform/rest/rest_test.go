package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// keys authenticates by a table that may change while it is used.
type keys struct {
	mu sync.Mutex
	of map[string]omni.Identity
}

func (k *keys) Authenticate(_ context.Context, token string) (omni.Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	identity, ok := k.of[token]
	if !ok {
		return omni.Identity{}, omni.Errorf(omni.CodeUnauthorized, "the API key is not known").WithHint("look for a typing error")
	}
	return identity, nil
}

func (k *keys) revoke(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.of, token)
}

func someKeys() *keys {
	return &keys{of: map[string]omni.Identity{
		"root":   {Actor: "key:root", KeyID: "key_root", Permissions: []string{"*"}},
		"reader": {Actor: "key:reader", KeyID: "key_reader", Permissions: []string{"things.read"}},
		"acme":   {Actor: "key:acme", KeyID: "key_acme", Tenant: "acme", Permissions: []string{"things.read", "things.write"}},
		"nobody": {Actor: "key:nobody", KeyID: "key_nobody"},
	}}
}

type spec struct {
	Size  int               `json:"size" minimum:"0" maximum:"100"`
	TTL   omni.Duration     `json:"ttl,omitempty"`
	Ratio float64           `json:"ratio,omitempty"`
	Parts []part            `json:"parts,omitempty" maxItems:"3"`
	Tags  map[string]string `json:"tags,omitempty"`
}

type part struct {
	Name string        `json:"name" minLength:"1"`
	Wait omni.Duration `json:"wait,omitempty"`
}

type thing struct {
	Name string `json:"name" minLength:"1" maxLength:"20"`
	Spec spec   `json:"spec"`
}

type createThing struct {
	Tenant string `query:"tenant"`
	Body   thing
}

type getThing struct {
	Name string `path:"name"`
	Wide bool   `query:"wide"`
}

type listThings struct {
	rest.PageParams
	Tenant string `query:"tenant"`
}

// things is an API with one of each kind of route.
func things(opts rest.Options) *rest.API {
	if opts.Authenticator == nil {
		opts.Authenticator = someKeys()
	}
	opts.Title, opts.Version = "Things", "1.2.3"
	api := rest.New(opts)
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: "/api/v1/things", ID: "create-thing", Permission: "things.write", Status: http.StatusCreated},
		func(_ context.Context, in *createThing) (*rest.ItemOutput[thing], error) {
			return &rest.ItemOutput[thing]{ETag: rest.ETag(1), Body: in.Body}, nil
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/things", ID: "list-things", Permission: "things.read"},
		func(ctx context.Context, in *listThings) (*rest.ListOutput[thing], error) {
			if _, err := rest.Tenant(ctx, in.Tenant); err != nil {
				return nil, err
			}
			return rest.List(omni.Page[thing]{}), nil
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/things/{name}", ID: "get-thing", Permission: "things.read"},
		func(_ context.Context, in *getThing) (*rest.ItemOutput[thing], error) {
			return rest.Item(thing{Name: in.Name}), failure(in.Name)
		})
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: "/api/v1/things/{name}/touch", ID: "touch-thing", Permission: "things.write"},
		func(context.Context, *struct {
			Name string `path:"name"`
		},
		) (*rest.Empty, error) {
			return nil, nil
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/open", ID: "open", Permission: rest.Public},
		func(ctx context.Context, _ *struct{}) (*rest.ItemOutput[omni.Request], error) {
			return rest.Item(omni.RequestFrom(ctx)), nil
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/whoami", ID: "whoami", Permission: rest.Authenticated},
		func(ctx context.Context, _ *struct{}) (*rest.ItemOutput[string], error) {
			return rest.Item(omni.RequestFrom(ctx).Identity.Actor), nil
		})
	return api
}

// failure gives an error for the name of a code.
func failure(name string) error {
	switch name {
	case "panic":
		panic("a secret of the inside")
	case "plain":
		return errors.New("a secret of the inside")
	case "wrapped":
		return omni.Errorf(omni.CodeInternal, "read the row: %w", errors.New("a secret of the inside"))
	case "deadline":
		return context.DeadlineExceeded
	case "ok":
		return nil
	}
	return omni.Errorf(omni.Code(strings.TrimPrefix(name, "code-")), "it failed").WithHint("do something").
		WithFields(omni.FieldError{Path: "spec.size", Message: "is odd"})
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) problem(t *testing.T) rest.Problem {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("status %d has the content type %q, want a problem; body: %s", a.status, got, a.body)
	}
	var p rest.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	if p.Status != a.status {
		t.Errorf("the problem says %d, the answer %d", p.Status, a.status)
	}
	if p.Type == "" || p.Title == "" || p.Detail == "" || p.Code == "" || p.RequestID == "" {
		t.Errorf("the problem lacks members: %s", a.body)
	}
	return p
}

// do sends one request to h with the key "root" unless headers say otherwise: pairs of name and value.
func do(t *testing.T, h http.Handler, method, target, body string, headers ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, target, reader)
	r.Header.Set("Authorization", "Bearer root")
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Result().Header, w.Body.String()}
}

func TestProblems(t *testing.T) {
	var log bytes.Buffer
	h := things(rest.Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))}).Handler()
	statuses := map[omni.Code]int{
		omni.CodeInvalid: 422, omni.CodeUnauthorized: 401, omni.CodeForbidden: 403, omni.CodeNotFound: 404, omni.CodeConflict: 409,
		omni.CodeStale: 412, omni.CodeRefused: 409, omni.CodeReferenced: 409, omni.CodeLimited: 429, omni.CodeTooLarge: 413,
		omni.CodeUnavailable: 503, omni.CodeFull: 507, omni.CodeUnfinished: 504,
	}
	for code, status := range statuses {
		t.Run(string(code), func(t *testing.T) {
			p := do(t, h, "GET", "/api/v1/things/code-"+string(code), "", "X-Request-ID", "abc.1").problem(t)
			if p.Status != status || p.Code != code || p.Detail != "it failed" || p.Hint != "do something" || p.RequestID != "abc.1" {
				t.Errorf("got %+v", p)
			}
			if len(p.Errors) != 1 || p.Errors[0].Path != "spec.size" || p.Errors[0].Message != "is odd" {
				t.Errorf("errors: %+v", p.Errors)
			}
		})
	}
	for _, name := range []string{"plain", "wrapped", "panic"} {
		t.Run("the cause of an internal error stays inside/"+name, func(t *testing.T) {
			log.Reset()
			a := do(t, h, "GET", "/api/v1/things/"+name, "")
			if p := a.problem(t); p.Status != 500 || p.Code != omni.CodeInternal {
				t.Errorf("got %+v", p)
			}
			if strings.Contains(a.body, "secret") {
				t.Errorf("the client sees the cause: %s", a.body)
			}
			if !strings.Contains(log.String(), "a secret of the inside") {
				t.Errorf("the log does not say the cause: %s", log.String())
			}
			if name == "panic" && !strings.Contains(log.String(), "rest_test.failure") {
				t.Errorf("the log has no stack: %s", log.String())
			}
		})
	}
	t.Run("a handler out of time is unfinished", func(t *testing.T) {
		if p := do(t, h, "GET", "/api/v1/things/deadline", "").problem(t); p.Status != 504 || p.Code != omni.CodeUnfinished {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("what asks for a repeat says when", func(t *testing.T) {
		if got := do(t, h, "GET", "/api/v1/things/code-unavailable", "").header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After: %q", got)
		}
	})
}

func TestRouting(t *testing.T) {
	h := things(rest.Options{}).Handler()
	t.Run("an unknown path is a problem", func(t *testing.T) {
		if p := do(t, h, "GET", "/api/v1/nothing", "").problem(t); p.Status != 404 || p.Code != omni.CodeNotFound {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("another method is told which there are", func(t *testing.T) {
		a := do(t, h, "DELETE", "/api/v1/things", "")
		if p := a.problem(t); p.Status != 405 || a.header.Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("got %+v, Allow %q", p, a.header.Get("Allow"))
		}
	})
	t.Run("an empty list is a list", func(t *testing.T) {
		if a := do(t, h, "GET", "/api/v1/things?tenant=acme", ""); a.status != 200 || strings.TrimSpace(a.body) != `{"items":[]}` {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
	t.Run("no body is 204, and an empty object counts as none", func(t *testing.T) {
		for _, body := range []string{"", "{}", " {}\n"} {
			if a := do(t, h, "POST", "/api/v1/things/a/touch", body); a.status != 204 || a.body != "" {
				t.Errorf("body %q: got %d %q", body, a.status, a.body)
			}
		}
	})
	t.Run("a version is an ETag", func(t *testing.T) {
		a := do(t, h, "POST", "/api/v1/things", `{"name":"a","spec":{"size":1}}`)
		if a.status != 201 || a.header.Get("ETag") != `"1"` {
			t.Errorf("got %d, ETag %s: %s", a.status, a.header.Get("ETag"), a.body)
		}
	})
	t.Run("OpenAPI 3.1 describes routes, permissions and problems", func(t *testing.T) {
		a := do(t, h, "GET", "/openapi.json", "", "Authorization", "")
		var doc struct {
			OpenAPI string                               `json:"openapi"`
			Paths   map[string]map[string]map[string]any `json:"paths"`
		}
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
			t.Fatal(err)
		}
		post := doc.Paths["/api/v1/things"]["post"]
		if doc.OpenAPI != "3.1.0" || post["operationId"] != "create-thing" || post["x-permission"] != "things.write" {
			t.Errorf("openapi %s, post %v", doc.OpenAPI, post)
		}
		for _, member := range []string{`"RestProblem":{`, `"request_id":{`, `"hint":{`, `"$ref":"#/components/schemas/RestProblem"`} {
			if !strings.Contains(a.body, member) {
				t.Errorf("errors are not described as they are answered: there is no %s", member)
			}
		}
		if strings.Contains(a.body, "ErrorModel") {
			t.Error("errors are described as nobody answers them")
		}
		if y := do(t, h, "GET", "/openapi.yaml", ""); y.status != 200 || !strings.Contains(y.body, "operationId: create-thing") {
			t.Errorf("yaml: %d", y.status)
		}
	})
}

func TestKeys(t *testing.T) {
	h := things(rest.Options{}).Handler()
	cases := []struct {
		name, method, target string
		authorization        string
		status               int
	}{
		{"none", "GET", "/api/v1/things?tenant=acme", "", 401},
		{"another scheme", "GET", "/api/v1/things?tenant=acme", "Basic cm9vdDo=", 401},
		{"an empty one", "GET", "/api/v1/things?tenant=acme", "Bearer ", 401},
		{"two in one header", "GET", "/api/v1/things?tenant=acme", "Bearer root acme", 401},
		{"a huge one", "GET", "/api/v1/things?tenant=acme", "Bearer " + strings.Repeat("x", 600), 401},
		{"an unknown one", "GET", "/api/v1/things?tenant=acme", "Bearer foo", 401},
		{"one that may read reads", "GET", "/api/v1/things?tenant=acme", "Bearer reader", 200},
		{"one that may read does not write", "POST", "/api/v1/things", "Bearer reader", 403},
		{"one without permissions", "GET", "/api/v1/things?tenant=acme", "Bearer nobody", 403},
		{"one without permissions may ask who it is", "GET", "/api/v1/whoami", "Bearer nobody", 200},
		{"the scheme is not case sensitive", "GET", "/api/v1/whoami", "bearer reader", 200},
		{"a public route needs none", "GET", "/api/v1/open", "", 200},
		{"a platform key names a tenant", "GET", "/api/v1/things", "Bearer root", 422},
		{"a tenant's key need not", "GET", "/api/v1/things", "Bearer acme", 200},
		{"a tenant's key names itself", "GET", "/api/v1/things?tenant=acme", "Bearer acme", 200},
		{"a tenant's key finds no other", "GET", "/api/v1/things?tenant=globex", "Bearer acme", 404},
		{"a tenant is a name", "GET", "/api/v1/things?tenant=%2A", "Bearer root", 422},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, h, c.method, c.target, "", "Authorization", c.authorization)
			if a.status != c.status {
				t.Fatalf("got %d, want %d: %s", a.status, c.status, a.body)
			}
			if c.status >= 400 {
				a.problem(t)
			}
			if c.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate: %q", a.header.Get("WWW-Authenticate"))
			}
		})
	}
	t.Run("the input is not looked at before the key is", func(t *testing.T) {
		if a := do(t, h, "POST", "/api/v1/things", "{", "Authorization", ""); a.status != 401 {
			t.Errorf("got %d", a.status)
		}
	})
}

func TestCheck(t *testing.T) {
	nothing := func(context.Context, *struct{}) (*rest.Empty, error) { return nil, nil }
	faulty := map[string]rest.Route{
		"declares no permission": {Method: "GET", Path: "/api/v1/a", ID: "a"},
		"must begin with":        {Method: "GET", Path: "/a", ID: "a", Permission: "a.read"},
		"needs an ID":            {Method: "GET", Path: "/api/v1/a", Permission: "a.read"},
		"/api/v1/{":              {Method: "GET", Path: "/api/v1/{", ID: "a", Permission: "a.read"},
	}
	for want, route := range faulty {
		t.Run("a route that "+want, func(t *testing.T) {
			api := rest.New(rest.Options{Authenticator: someKeys()})
			rest.Handle(api, route, nothing)
			if err := api.Check(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a route without a permission is closed to all", func(t *testing.T) {
		api := rest.New(rest.Options{Authenticator: someKeys()})
		rest.Handle(api, rest.Route{Method: "GET", Path: "/api/v1/a", ID: "a"}, nothing)
		if a := do(t, api.Handler(), "GET", "/api/v1/a", ""); a.status != 403 {
			t.Errorf("got %d", a.status)
		}
	})
	t.Run("the same route twice", func(t *testing.T) {
		api := rest.New(rest.Options{Authenticator: someKeys()})
		for _, id := range []string{"a", "b"} {
			rest.Handle(api, rest.Route{Method: "GET", Path: "/api/v1/a", ID: id, Permission: "a.read"}, nothing)
		}
		if api.Check() == nil {
			t.Error("no fault")
		}
	})
	t.Run("good routes are listed", func(t *testing.T) {
		api := things(rest.Options{})
		if err := api.Check(); err != nil {
			t.Fatal(err)
		}
		routes := api.Routes()
		if len(routes) != 6 {
			t.Fatalf("%d routes", len(routes))
		}
		for _, r := range routes {
			if r.Permission == "" {
				t.Errorf("%s %s declares no permission", r.Method, r.Path)
			}
		}
	})
	t.Run("an input that hides its parameters from huma", func(t *testing.T) {
		type hidden struct {
			Tenant string `query:"tenant"`
		}
		type input struct{ hidden }
		api := rest.New(rest.Options{Authenticator: someKeys()})
		rest.Handle(api, rest.Route{Method: "GET", Path: "/api/v1/a", ID: "a", Permission: "a.read"},
			func(context.Context, *input) (*rest.Empty, error) { return nil, nil })
		if err := api.Check(); err == nil || !strings.Contains(err.Error(), "hidden") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("types of the same name do not collide", func(t *testing.T) {
		api := rest.New(rest.Options{Authenticator: someKeys()})
		first(api)
		second(api)
		if err := api.Check(); err != nil {
			t.Error(err)
		}
	})
}

func first(api *rest.API) {
	type local struct {
		A string `json:"a"`
	}
	rest.Handle(api, rest.Route{Method: "GET", Path: "/api/v1/one", ID: "one", Permission: "a.read"},
		func(context.Context, *struct{}) (*rest.ItemOutput[local], error) { return nil, nil })
}

func second(api *rest.API) {
	type local struct {
		B int `json:"b"`
	}
	rest.Handle(api, rest.Route{Method: "GET", Path: "/api/v1/two", ID: "two", Permission: "a.read"},
		func(context.Context, *struct{}) (*rest.ItemOutput[local], error) { return nil, nil })
}
