package daemon_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheStreamShowsTheAuditTrailOnlyToThoseWhoMayReadIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	line, _ := start(t, dir)
	file, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	admin, base := strings.TrimSpace(string(file)), "http://"+line.Listen+"/api/v1/"
	if status, body := send(t, http.MethodPost, base+"tenants", admin, map[string]string{"name": "acme"}); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	for role, want := range map[string]bool{"viewer": false, "operator": true} {
		status, body := send(t, http.MethodPost, base+"keys", admin, map[string]any{"name": role, "tenant": "acme", "roles": []string{role}})
		var key struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal([]byte(body), &key); err != nil || status != http.StatusCreated {
			t.Fatalf("%d %s (%v)", status, body, err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"events", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+key.Token)
		request.Header.Set("Last-Event-ID", "0")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		// Making the tenant wrote its audit record and its event, in this order.
		timer := time.AfterFunc(10*time.Second, func() { _ = response.Body.Close() })
		seen, changed := false, false
		for lines := bufio.NewScanner(response.Body); !changed && lines.Scan(); {
			seen = seen || lines.Text() == "event: omni.audit.record"
			changed = lines.Text() == "event: omni.tenant.changed"
		}
		timer.Stop()
		_ = response.Body.Close()
		if !changed || seen != want {
			t.Errorf("%s: the change was seen: %v, its record: %v, want %v", role, changed, seen, want)
		}
	}
}
