package omnicloud_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/omnicloud/omnicloud/"

// allowed is the table of imports: for each package of ours, the other packages of ours that it may import. "x/..." is x and
// everything below it. A package that matches no row fails the test, so a new one is placed before it is used. Rows
// are tried in order; the first that matches counts.
var allowed = []struct {
	pkg     string
	imports []string
}{
	{"pkg/omni", nil},

	// Mechanisms. They know nothing of clouds, tenants or money.
	{"pkg/platform/database", []string{"pkg/omni"}},
	{"pkg/platform/database/...", []string{"pkg/omni", "pkg/platform/database/...", "migrations"}},
	{"pkg/platform/...", []string{"pkg/omni", "pkg/platform/..."}},
	{"migrations", []string{"pkg/platform/database"}},

	// Pure cores, and the seam to real resources.
	{"pkg/provider/...", []string{"pkg/omni", "pkg/platform/...", "pkg/provider/..."}},

	// The domain. infra is the ground that the others stand on; services never import each other.
	{"pkg/infra/...", []string{"pkg/omni", "pkg/platform/...", "pkg/provider"}},
	{"pkg/failover/...", []string{"pkg/omni", "pkg/platform/...", "pkg/provider", "pkg/infra"}},
	{"pkg/services/*/...", []string{"pkg/omni", "pkg/platform/...", "pkg/provider", "pkg/infra"}},

	// Where parts meet.
	{"pkg/daemon/...", []string{"pkg/...", "migrations"}},
	{"cmd/omnid", []string{"pkg/daemon", "pkg/omni"}},

	// The client's side.
	{"pkg/client/...", []string{"pkg/omni", "pkg/platform/events", "pkg/infra", "pkg/failover", "pkg/services/..."}},
	{"pkg/cli/...", []string{"pkg/omni", "pkg/platform/events", "pkg/infra", "pkg/failover", "pkg/services/...", "pkg/client", "pkg/cli/...", "pkg/tui", "examples/shop"}},
	{"pkg/tui/...", []string{"pkg/omni", "pkg/infra", "pkg/failover", "pkg/services/...", "pkg/client"}},
	{"cmd/omnictl", []string{"pkg/cli", "pkg/omni", "examples/shop"}},

	{"examples/...", []string{"examples/..."}},
	{"e2e/...", []string{"e2e/..."}},
	{"", nil}, // the top: this file and its like; what its tests need stands in topTests
}

// testsMay is what tests may import besides: real stores, real drivers, and whatever they put together.
var testsMay = []string{"pkg/platform/...", "pkg/provider/...", "migrations"}

// topTests is what the tests at the top may import: they hold docker-compose.yml against what omnid takes.
var topTests = []string{"pkg/daemon"}

// wrapped names the only packages that may import a driver (of a database, a protocol, a coordination service). Nothing
// else may, tests included.
var wrapped = map[string][]string{
	"github.com/jackc/pgx/":            {"pkg/platform/database/postgres", "pkg/platform/database/databasetest"},
	"github.com/ncruces/go-sqlite3":    {"pkg/platform/database/sqlite"},
	"github.com/pressly/goose/":        {"pkg/platform/database/migrate"},
	"go.etcd.io/etcd/":                 {"pkg/platform/election", "e2e/servers/etcd"},
	"github.com/danielgtaylor/huma/":   {"pkg/platform/rest"},
	"github.com/miekg/dns":             {"pkg/services/dns", "examples/shop", "e2e", "pkg/cli/demo"},
	"github.com/spf13/viper":           {"pkg/daemon", "pkg/cli"},
	"github.com/charmbracelet/":        {"pkg/cli/...", "pkg/tui"},
	"go.opentelemetry.io/otel/sdk":     {"pkg/platform/telemetry/..."},
	"github.com/prometheus/":           {"pkg/platform/telemetry", "pkg/services/gateway", "pkg/daemon"},
	"github.com/rogpeppe/go-internal/": {"e2e"},
}

// unlinked is what omnictl must not carry, since it never opens a store.
var unlinked = []string{"github.com/jackc/pgx", "github.com/ncruces", "github.com/pressly/goose", "go.etcd.io/etcd/server", "go.etcd.io/etcd/client"}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func listed(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// matches says whether pkg stands under pattern, which may hold * for one element and end in "/..." for all below.
func matches(pattern, pkg string) bool {
	if base, below := strings.CutSuffix(pattern, "/..."); below {
		elements := strings.Count(base, "/") + 1
		parts := strings.Split(pkg, "/")
		if len(parts) < elements {
			return false
		}
		pattern, pkg = base, strings.Join(parts[:elements], "/")
	}
	ok, err := path.Match(pattern, pkg)
	return ok && err == nil
}

func anyMatches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

func relative(importPath string) (string, bool) {
	if importPath+"/" == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module)
}

// row gives what pkg may import; a service may also import itself, so its own folder is added.
func row(pkg string) ([]string, bool) {
	for _, r := range allowed {
		if !matches(r.pkg, pkg) {
			continue
		}
		own := pkg
		if parts := strings.Split(pkg, "/"); strings.HasPrefix(pkg, "pkg/services/") {
			own = strings.Join(parts[:3], "/")
		}
		return append(slices.Clone(r.imports), own+"/..."), true
	}
	return nil, false
}

func TestImports(t *testing.T) {
	for _, p := range listed(t, "./...") {
		name, _ := relative(p.ImportPath)
		t.Run("./"+name, func(t *testing.T) {
			may, ok := row(name)
			if !ok {
				t.Fatalf("no row of the import table covers this package: place it in the table of arch_test.go")
			}
			for _, imported := range p.Imports {
				if ours, is := relative(imported); is && !anyMatches(may, ours) {
					t.Errorf("imports %s, which its row does not allow", ours)
				}
			}
			for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
				if name == "" {
					may = topTests
				}
				if ours, is := relative(imported); is && !anyMatches(slices.Concat(may, testsMay), ours) {
					t.Errorf("its tests import %s, which its row does not allow", ours)
				}
			}
			for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				for driver, by := range wrapped {
					if strings.HasPrefix(imported, driver) && !anyMatches(by, name) {
						t.Errorf("imports %s, which only %v may", imported, by)
					}
				}
			}
		})
	}
}

func TestClientLinksNoDrivers(t *testing.T) {
	for _, p := range listed(t, "-deps", "./cmd/omnictl") {
		for _, driver := range unlinked {
			if strings.HasPrefix(p.ImportPath, driver) {
				t.Errorf("omnictl links %s", p.ImportPath)
			}
		}
	}
}

func TestImportTableRefuses(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"pkg/services/dns", "pkg/services/audit", false},
		{"pkg/services/dns", "pkg/infra", true},
		{"pkg/failover", "pkg/services/dns", false},
		{"pkg/infra", "pkg/failover", false},
		{"pkg/omni", "pkg/platform/database", false},
		{"pkg/platform/events", "pkg/infra", false},
		{"cmd/omnid", "pkg/cli", false},
	} {
		may, ok := row(c.from)
		if !ok || anyMatches(may, c.to) != c.want {
			t.Errorf("%s may import %s: got %v, want %v", c.from, c.to, !c.want, c.want)
		}
	}
	if _, ok := row("pkg/utils"); ok {
		t.Error("a package that no row names is let through")
	}
}
