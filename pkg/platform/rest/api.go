package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

type (
	authenticator interface {
		// Authenticate gives the holder of a key; an unknown, expired or revoked one is CodeUnauthorized.
		Authenticate(ctx context.Context, token string) (omni.Identity, error)
	}
	observer interface {
		// Begin counts a request in; the function that it returns counts it out. route is a pattern, never a path.
		Begin() func(method, route string, status int, took time.Duration)
	}
	tracer interface {
		// Start begins a span below the traceparent parent ("" begins a trace), and gives its own traceparent.
		Start(ctx context.Context, name, parent string) (child context.Context, traceparent string, end func(error))
	}
)

// Options are what an API is made of. Authenticator must be given, and Idempotency too if Idempotency-Key is to be
// honoured; all else may be left out.
type Options struct {
	Title, Version string
	Authenticator  authenticator
	Idempotency    *database.DB // infra
	Logger         *slog.Logger
	Metrics        observer
	Tracer         tracer
	Now            func() time.Time
	MaxBody        int64         // bytes of a request's body; 0 means 1 MiB
	Timeout        time.Duration // of a handler; 0 means 60 s
	BodyTimeout    time.Duration // for the whole body to arrive; 0 means 15 s
	Heartbeat      time.Duration // between the comments that keep a stream open; 0 means 15 s
}

// Bounds of a request, where neither Options nor Route say otherwise.
const (
	DefaultMaxBody     = 1 << 20
	DefaultTimeout     = time.Minute
	DefaultHeartbeat   = 15 * time.Second
	DefaultBodyTimeout = 15 * time.Second
)

// API holds the routes of one server. Routes are added first, then Handler is served.
type API struct {
	opts Options
	huma huma.API
	mux  *http.ServeMux
	idem *idempotency

	mu      sync.Mutex // guards what follows while routes are added
	routes  []Route
	faults  []error
	ids     map[string]bool
	pending *registered // the route that is being handed to HandleFunc
}

// strictNames makes huma take the names of fields as they are written, as its documentation asks for: by a switch of the package.
var strictNames = sync.OnceFunc(func() { huma.ValidateStrictCasing = true }) //nolint:gochecknoglobals // huma has no other way

// New makes an API without routes but /openapi.json and /openapi.yaml.
func New(opts Options) *API {
	strictNames()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now //nolint:forbidigo // the default of the injected clock
	}
	opts.MaxBody = orDefault(opts.MaxBody, DefaultMaxBody)
	opts.Timeout = orDefault(opts.Timeout, DefaultTimeout)
	opts.BodyTimeout = orDefault(opts.BodyTimeout, DefaultBodyTimeout)
	opts.Heartbeat = orDefault(opts.Heartbeat, DefaultHeartbeat)
	a := &API{opts: opts, mux: http.NewServeMux(), ids: map[string]bool{}}
	if opts.Idempotency != nil {
		a.idem = &idempotency{db: opts.Idempotency, log: opts.Logger}
	}
	schemas := huma.NewMapRegistry("#/components/schemas/", schemaNames())
	schemas.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[Problem]()) // errors as reform makes them
	json := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	yaml := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	a.huma = humago.New((*routerOf)(a), huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: opts.Title, Version: opts.Version},
			Components: &huma.Components{
				Schemas:         schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": json, "json": json, "application/yaml": yaml},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{reform},
	})
	a.describe()
	a.mux.HandleFunc("/", a.noRoute)
	return a
}

func orDefault[T int64 | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// limit is the largest body of a route in bytes.
func (a *API) limit(rt *registered) int64 { return orDefault(rt.MaxBody, a.opts.MaxBody) }

// Routes lists the routes that were added, by path and method.
func (a *API) Routes() []Route {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := slices.Clone(a.routes)
	slices.SortFunc(out, func(x, y Route) int {
		return strings.Compare(x.Path+" "+x.Method, y.Path+" "+y.Method)
	})
	return out
}

// Check tells what is wrong with the routes: a missing permission, an ID used twice, a pattern that another one shadows. A server
// does not start with a faulty API.
func (a *API) Check() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	faults := slices.Clone(a.faults)
	if a.opts.Authenticator == nil {
		faults = append(faults, errors.New("the API has no authenticator"))
	}
	return errors.Join(faults...)
}

// routerOf is the API as huma's adapter sees it: it takes huma's handlers, each behind the checks that its route asks for.
type routerOf API

// HandleFunc implements humago.Mux.
func (ro *routerOf) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	a := (*API)(ro)
	a.mux.HandleFunc(pattern, a.enter(a.pending, handler))
}

// ServeHTTP implements humago.Mux.
func (ro *routerOf) ServeHTTP(w http.ResponseWriter, r *http.Request) { ro.mux.ServeHTTP(w, r) }

// describe serves the description, made once, after the last route was added.
func (a *API) describe() {
	asJSON := sync.OnceValues(func() ([]byte, error) { return a.huma.OpenAPI().MarshalJSON() })
	asYAML := sync.OnceValues(func() ([]byte, error) { return a.huma.OpenAPI().YAML() })
	serve := func(mediaType string, body func() ([]byte, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			doc, err := body()
			if err != nil {
				WriteProblem(w, r, a.problem(r.Context(), fmt.Errorf("describe the API: %w", err)))
				return
			}
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(doc) // the client may be gone
		}
	}
	a.mux.HandleFunc("GET /openapi.json", serve("application/openapi+json", asJSON))
	a.mux.HandleFunc("GET /openapi.yaml", serve("application/openapi+yaml", asYAML))
}

// noRoute answers what no route serves: 405 when another method would be, 404 otherwise.
func (a *API) noRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := a.mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		WriteProblem(w, r, omni.Errorf(omni.CodeNotFound, "there is no route %s", shorten(r.URL.Path, 200)).
			WithHint("/openapi.json lists all routes"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	WriteProblem(w, r, withStatus(r.Context(), http.StatusMethodNotAllowed,
		omni.Errorf(omni.CodeInvalid, "%s is not a method of %s", shorten(r.Method, 20), shorten(r.URL.Path, 200)).
			WithHint("use one of %s", strings.Join(allowed, ", "))))
}

// problem translates an error of a handler, and logs what the client will not see.
func (a *API) problem(ctx context.Context, err error) *Problem {
	p := NewProblem(ctx, err)
	if p.Status >= http.StatusInternalServerError {
		a.opts.Logger.ErrorContext(ctx, "request failed", slog.String("code", string(p.Code)), slog.String("error", causes(err)))
	}
	return p
}

// causes writes an error with the causes that its message does not show.
func causes(err error) string {
	text := err.Error()
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		if s := inner.Error(); !strings.Contains(text, s) {
			text += ": " + s
		}
	}
	return text
}
