package cli_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/cli"
	"github.com/omnicloud/omnicloud/pkg/cli/console"
)

// said is what a command left behind.
type said struct {
	code      int
	out, errs string
}

// run runs omnictl with args against a server whose answers handle gives, with nothing on stdin that could be asked.
func run(t *testing.T, handle http.HandlerFunc, args ...string) said {
	t.Helper()
	t.Chdir(t.TempDir())
	if handle == nil {
		handle = func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the server was asked %s %s", r.Method, r.URL) }
	}
	server := httptest.NewServer(handle)
	defer server.Close()
	var out, errs bytes.Buffer
	environ := map[string]string{"OMNI_SERVER": server.URL, "HOME": "."}
	c := &console.Console{
		In: strings.NewReader(""), Out: &out, Err: &errs, Environ: func(name string) string { return environ[name] },
		Now: time.Now, Version: "v1.2.3",
	}
	root, release := cli.Root(c)
	defer release()
	root.SetArgs(args)
	root.SetErr(&errs)
	err := root.ExecuteContext(t.Context())
	c.Complain(err)
	return said{code: console.ExitCode(err), out: out.String(), errs: errs.String()}
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestWhatIsTypedWronglyIsUsage(t *testing.T) {
	for command, want := range map[string]string{
		"statsu":                                        "did you mean status?",
		"frobnicate":                                    `omnictl has no command "frobnicate"; it has `,
		"frobnicate -f x":                               `omnictl has no command "frobnicate"; it has `,
		"failover trigr acme --from east":               "did you mean trigger?",
		"failover frobnicate":                           `omnictl failover has no command "frobnicate"; it has abort, approve`,
		"completion tcsh":                               `omnictl completion has no command "tcsh"`,
		"regions list --frobnicate":                     "unknown flag: --frobnicate\n  → omnictl regions list --help",
		"apply":                                         `required flag(s) "filename" not set` + "\n  → usage: omnictl apply -f",
		"failover trigger acme --to x":                  `required flag(s) "from" not set`,
		"get regions -o xml":                            "none of table, wide, json",
		"failover list --limit 0":                       "--limit",
		"failover list --limit -1":                      "--limit",
		"audit list --limit -1":                         "--limit",
		"billing usage --limit 0":                       "--limit",
		"auth keys create x --expires -1s":              "--expires",
		"failover plan a --from a --to b --max-lag -1s": "--max-lag",
	} {
		if got := run(t, nil, strings.Fields(command)...); got.code != console.ExitUsage || !strings.Contains(got.errs, want) || got.out != "" {
			t.Errorf("%s: %+v, want %q", command, got, want)
		}
	}
}

func TestTheVersionIsTold(t *testing.T) {
	if got := run(t, nil, "--version"); got.code != 0 || got.out != "omnictl v1.2.3\n" {
		t.Errorf("%+v", got)
	}
}

func TestTheTimeIsBounded(t *testing.T) {
	got := run(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "regions", "list", "--timeout", "20ms")
	if got.code != console.ExitUnfinished || !strings.Contains(got.errs, "did not answer in time") {
		t.Errorf("%+v", got)
	}
}

func TestErrorsOfTheServerAreSaidOnceAndWithTheRequest(t *testing.T) {
	got := run(t, answers(http.StatusUnprocessableEntity, `{"code":"invalid","detail":"limit: is too large","request_id":"req_7",
		"hint":"take less","errors":[{"path":"limit","message":"is too large"}]}`), "regions", "list")
	if want := "omnictl: limit: is too large\n  → take less\n  request req_7\n"; got.errs != want || got.code != console.ExitUsage {
		t.Errorf("%+v, want %q", got, want)
	}
}

func TestAMissingTenantIsAFlag(t *testing.T) {
	got := run(t, answers(http.StatusUnprocessableEntity, `{"code":"invalid","detail":"tenant: is missing","hint":"add the query parameter tenant=NAME",
		"errors":[{"path":"tenant","message":"is missing"}]}`), "failover", "list")
	if !strings.Contains(got.errs, "→ add --tenant NAME\n") {
		t.Errorf("%+v", got)
	}
}

// routes answers each path below /api/v1 with its body, and any other as missing.
func routes(bodies map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if body, ok := bodies[strings.TrimPrefix(r.URL.Path, "/api/v1/")]; ok {
			answers(http.StatusOK, body)(w, r)
			return
		}
		answers(http.StatusNotFound, `{"code":"not_found","detail":"there is none"}`)(w, r)
	}
}

func TestAMisspeltTenantIsNotATenantThatOwnsNothing(t *testing.T) {
	empty := `{"items":[]}`
	kinds := `{"items":[{"name":"Resource","plural":"resources","tenanted":true}]}`
	bodies := map[string]string{
		"failovers": empty, "audit": empty, "usage": `{"items":[],"totals":[]}`, "keys": empty, "kinds": kinds, "resources": empty,
		"audit/verify": `{"tenant":"x","entries":0,"ok":true}`, "tenants/acme": `{"name":"acme"}`,
	}
	for _, command := range []string{"failover list", "audit list", "billing usage", "auth keys list", "get resources"} {
		for name, want := range map[string]int{"acme": console.ExitDone, "acmee": console.ExitNotFound} {
			if got := run(t, routes(bodies), append(strings.Fields(command), "--tenant", name)...); got.code != want {
				t.Errorf("%s --tenant %s: %+v, want %d", command, name, got, want)
			}
		}
	}
	if got := run(t, routes(bodies), "audit", "verify", "--tenant", "acmee"); got.code != console.ExitNotFound || got.out != "" {
		t.Errorf("%+v", got)
	}
}

func TestAListSaysWhatEachObjectIs(t *testing.T) {
	kinds := `{"items":[{"name":"Region","plural":"regions"},{"name":"FailoverPolicy","plural":"policies"},{"name":"Zone","plural":"zones"},{"name":"Tenant","plural":"tenants"}]}`
	for kind, c := range map[string]struct{ object, want string }{
		"regions":  {`{"name":"east","cordoned":true,"spec":{"zones":[{},{}]}}`, "2 zones cordoned"},
		"policies": {`{"name":"default","tenant":"acme","spec":{"primary":"east","targets":["west","north"]}}`, "from east to west, north"},
		"zones":    {`{"name":"z","tenant":"acme","spec":{"domain":"acme.test.","records":[{}]}}`, "acme.test with 1 record sets"},
		"tenants":  {`{"name":"acme","display_name":"Acme","billing_currency":"EUR"}`, "Acme billed in EUR"},
	} {
		got := run(t, routes(map[string]string{"kinds": kinds, kind: `{"items":[` + c.object + `]}`}), "get", kind)
		if !strings.Contains(got.out, c.want) {
			t.Errorf("%s: %+v, want %q", kind, got, c.want)
		}
	}
}

func TestAFreezeIsNotForgotten(t *testing.T) {
	got := run(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			answers(http.StatusOK, `{"status":"ready","checks":[]}`)(w, r)
			return
		}
		routes(map[string]string{
			"whoami": `{"actor":"key:ops"}`, "regions": `{"items":[]}`,
			"automation/freeze": `{"frozen":true,"since":"2026-01-02T03:04:05Z","by":"key:ops","reason":"move"}`,
		})(w, r)
	}, "doctor")
	if want := "FROZEN by key:ops since 2026-01-02T03:04:05Z: move"; got.code != 0 || !strings.Contains(got.out, want) {
		t.Errorf("%+v, want %q", got, want)
	}
}

func TestEventsComeInTheFormThatIsAskedFor(t *testing.T) {
	stream := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("id: 7\nevent: omni.x\ndata: " +
			`{"specversion":"1.0","id":"evt_1","source":"/s","type":"omni.x","subject":"a/b","time":"2026-01-02T03:04:05Z","data":{"n":1}}` + "\n\n"))
	}
	for args, want := range map[string]string{"-o name": "evt_1\n", "--jq .data.n": "1\n", "-o jsonl": `{"specversion":"1.0","id":"evt_1"`, "-o yaml": "---\nspecversion: \"1.0\"\n"} {
		got := run(t, stream, append([]string{"events", "tail", "--count", "1"}, strings.Fields(args)...)...)
		if got.code != 0 || !strings.HasPrefix(got.out, want) {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
}
