package daemon_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// send makes a request with a JSON body, and gives its answer.
func send(t *testing.T, method, url, token string, body any) (int, string) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// program is a manifest of a resource of acme that runs command by the driver exec, in one region.
func program(kind, command string) string {
	return `{apiVersion: omni/v1, kind: Resource, metadata: {name: db, tenant: acme}, spec: {type: ` + kind +
		`, placements: [{region: east, role: active, driver: exec, address: "192.0.2.1:1", config: {command: ` + command + `}}]}}`
}

// caller is the same by the driver http.
func caller(url string) string {
	return `{apiVersion: omni/v1, kind: Resource, metadata: {name: web, tenant: acme}, spec: {type: app, placements: [{region: east, role: active, ` +
		`driver: http, address: "192.0.2.1:1", config: {url: "` + url + `"}}]}}`
}

func TestATenantsKeyCannotChooseWhatRunsOnOmnidsMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	line, _ := start(t, dir)
	file, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	admin, base := strings.TrimSpace(string(file)), "http://"+line.Listen+"/api/v1/"
	apply := func(token, manifest string) (int, string) {
		return send(t, http.MethodPost, base+"manifests/apply", token,
			map[string]any{"files": []map[string]string{{"name": "m.yaml", "content": manifest}}})
	}
	const ground = "{apiVersion: omni/v1, kind: Tenant, metadata: {name: acme}, spec: {}}\n---\n" +
		"{apiVersion: omni/v1, kind: Region, metadata: {name: east}, spec: {zones: [{name: a, probes: [{name: p, type: heartbeat}]}]}}"
	if status, body := apply(admin, ground); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	status, body := send(t, http.MethodPost, base+"keys", admin, map[string]any{"name": "ops", "tenant": "acme", "roles": []string{"operator"}})
	var key struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(body), &key); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s (%v)", status, body, err)
	}
	for _, step := range []struct {
		what, token, manifest string
		status                int
	}{
		{"a tenant's new program", key.Token, program("database", "/bin/one"), http.StatusForbidden},
		{"the platform's", admin, program("database", "/bin/one"), http.StatusOK},
		{"a tenant's change of all but the program", key.Token, program("app", "/bin/one"), http.StatusOK},
		{"a tenant's other program", key.Token, program("app", "/bin/two"), http.StatusForbidden},
		{"a tenant's same program with another environment", key.Token, program("app", "/bin/one, env: {LD_PRELOAD: x}"), http.StatusForbidden},
		{"a tenant's new agent", key.Token, caller("http://169.254.169.254/"), http.StatusForbidden},
		{"the platform's agent", admin, caller("http://192.0.2.1/"), http.StatusOK},
		{"a tenant's same agent", key.Token, caller("http://192.0.2.1/"), http.StatusOK},
	} {
		if status, body := apply(step.token, step.manifest); status != step.status {
			t.Errorf("%s: %d %s, want %d", step.what, status, body, step.status)
		}
	}
}
