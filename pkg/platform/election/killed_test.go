package election_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/election"
)

// TestKilledLeader starts on what a killed process leaves behind: etcd's files while it led, its key and lease among them.
func TestKilledLeader(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	first := election.Options{DataDir: t.TempDir(), Name: "first", DB: db}
	one := stand(t, first)
	led := one.leads(t)
	left := t.TempDir()
	if err := os.CopyFS(filepath.Join(left, "etcd"), os.DirFS(filepath.Join(first.DataDir, "etcd"))); err != nil {
		t.Fatal(err)
	}
	one.stop()

	e, err := election.Open(t.Context(), election.Options{DataDir: left, Name: "second", DB: db, Now: time.Now, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if name, _, err := e.Leader(t.Context()); err != nil || name != "" {
		t.Errorf("before anybody has campaigned %q leads (%v)", name, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	next := stand(t, election.Options{DataDir: left, Name: "second", DB: db}).leads(t)
	t.Logf("the next process leads after %s", time.Since(begun))
	if next.epoch != led.epoch+1 {
		t.Errorf("epoch %d after %d", next.epoch, led.epoch)
	}
}
