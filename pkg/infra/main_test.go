package infra_test

import (
	"context"
	"strings"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func write(t *testing.T, db *database.DB, fn func(ctx context.Context, tx *database.Tx) error) error {
	t.Helper()
	ctx := omni.WithRequest(t.Context(), omni.Request{Identity: omni.System("test")})
	return db.Write(ctx, database.Platform(), fn)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants fails the test unless err has the code, and its message and fields contain each text.
func wants(t *testing.T, err error, code omni.Code, texts ...string) {
	t.Helper()
	if omni.CodeOf(err) != code {
		t.Fatalf("got code %q (%v), want %q", omni.CodeOf(err), err, code)
	}
	all := err.Error()
	if e, ok := err.(*omni.Error); ok { //nolint:errorlint // the outermost is meant
		for _, f := range e.Fields {
			all += "\n" + f.Path + ": " + f.Message
		}
	}
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("the error does not say %q:\n%s", text, all)
		}
	}
}

func region(name string) (omni.Metadata, infra.RegionSpec) {
	return omni.Metadata{Name: name}, infra.RegionSpec{Zones: []infra.Zone{{Name: "a", Probes: []infra.Probe{
		{Name: "web", Type: infra.ProbeHTTP, Target: "http://127.0.0.1:1/"},
	}}}}
}

func pair(name string, dependsOn ...string) (omni.Metadata, infra.ResourceSpec) {
	return omni.Metadata{Name: name, Tenant: "acme"}, infra.ResourceSpec{
		Type: "database", DependsOn: dependsOn,
		Placements: []infra.PlacementSpec{
			{Region: "east", Role: infra.Active, Driver: "sim", Address: "127.0.0.1:1"},
			{Region: "west", Role: infra.Standby, Driver: "sim", Address: "127.0.0.2:1"},
		},
	}
}

// world makes the regions east, west and north.
func world(t *testing.T, db *database.DB) *infra.Store {
	t.Helper()
	store := infra.NewStore(infra.Options{})
	must(t, write(t, db, func(ctx context.Context, tx *database.Tx) error {
		for _, name := range []string{"east", "west", "north"} {
			meta, spec := region(name)
			if _, err := store.ApplyRegion(ctx, tx, meta, spec); err != nil {
				return err
			}
		}
		return nil
	}))
	return store
}

func apply(t *testing.T, db *database.DB, s *infra.Store, meta omni.Metadata, spec infra.ResourceSpec) (out omni.Outcome, err error) {
	t.Helper()
	err = write(t, db, func(ctx context.Context, tx *database.Tx) (err error) {
		out, err = s.ApplyResource(ctx, tx, meta, spec)
		return err
	})
	return out, err
}

func get(t *testing.T, db *database.DB, s *infra.Store, name string) infra.Resource {
	t.Helper()
	var r infra.Resource
	must(t, db.Read(t.Context(), database.Tenant("acme"), func(ctx context.Context, tx *database.Tx) (err error) {
		r, err = s.Resource(ctx, tx, "acme", name)
		return err
	}))
	return r
}

// told counts the events of a type in the outbox.
func told(t *testing.T, db *database.DB, typ string) int {
	t.Helper()
	var n int
	must(t, db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, `select count(*) from outbox where type = $1`, []any{typ}, &n)
	}))
	return n
}
