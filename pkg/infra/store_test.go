package infra_test

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

func TestRegions(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := world(t, db)
		meta, spec := region("east")

		t.Run("applying the same again changes nothing, and tells nobody", func(t *testing.T) {
			before := told(t, db, infra.EventRegionChanged)
			must(t, write(t, db, func(ctx context.Context, tx *database.Tx) error {
				out, err := s.ApplyRegion(ctx, tx, meta, spec)
				if out != omni.Unchanged {
					t.Errorf("outcome %q", out)
				}
				return err
			}))
			if after := told(t, db, infra.EventRegionChanged); after != before {
				t.Errorf("%d events were written", after-before)
			}
		})
		t.Run("defaults are filled in, and an update keeps the cordon", func(t *testing.T) {
			spec.DisplayName = "Virginia"
			must(t, write(t, db, func(ctx context.Context, tx *database.Tx) error {
				if _, err := s.Cordon(ctx, tx, "east", "maintenance"); err != nil {
					return err
				}
				out, err := s.ApplyRegion(ctx, tx, meta, spec)
				if out != omni.Updated {
					t.Errorf("outcome %q", out)
				}
				if err != nil {
					return err
				}
				r, err := s.Region(ctx, tx, "east")
				p := r.Spec.Zones[0].Probes[0]
				if !r.Cordoned || r.CordonReason != "maintenance" || r.Version != 3 || p.Interval.String() != "5s" || p.Timeout.String() != "2s" {
					t.Errorf("got %+v", r)
				}
				return err
			}))
		})
		t.Run("a page ends where it was told to, and its cursor leads on", func(t *testing.T) {
			must(t, db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				first, err := s.Regions(ctx, tx, omni.PageRequest{Limit: 2})
				if err != nil {
					return err
				}
				second, err := s.Regions(ctx, tx, omni.PageRequest{Limit: 2, After: first.Next})
				if len(first.Items) != 2 || first.Next != "north" || len(second.Items) != 1 || second.Next != "" {
					t.Errorf("got %+v then %+v", first, second)
				}
				return err
			}))
		})
		t.Run("one that has placements cannot be deleted", func(t *testing.T) {
			m, r := pair("orders-db")
			if _, err := apply(t, db, s, m, r); err != nil {
				t.Fatal(err)
			}
			err := write(t, db, func(ctx context.Context, tx *database.Tx) error { return s.DeleteRegion(ctx, tx, "west") })
			wants(t, err, omni.CodeReferenced, "acme/orders-db")
			must(t, write(t, db, func(ctx context.Context, tx *database.Tx) error { return s.DeleteRegion(ctx, tx, "north") }))
		})
	})
}

func TestResources(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := world(t, db)
		meta, spec := pair("orders-db")
		if out, err := apply(t, db, s, meta, spec); err != nil || out != omni.Created {
			t.Fatal(out, err)
		}
		r := get(t, db, s, "orders-db")
		if r.Serving != "east" || len(r.Placements) != 2 || r.Placements[0].Role != infra.Active || r.DependsOn == nil {
			t.Fatalf("got %+v", r)
		}
		if n := told(t, db, infra.EventPlacementChanged); n != 2 {
			t.Fatalf("%d placements were told of", n)
		}

		t.Run("applying again, with the roles swapped, moves nothing", func(t *testing.T) {
			swapped := spec
			swapped.Placements = []infra.PlacementSpec{spec.Placements[1], spec.Placements[0]}
			swapped.Placements[0].Role, swapped.Placements[1].Role = infra.Active, infra.Standby
			if out, err := apply(t, db, s, meta, swapped); err != nil || out != omni.Unchanged {
				t.Fatal(out, err)
			}
			if again := get(t, db, s, "orders-db"); !reflect.DeepEqual(again, r) {
				t.Errorf("got %+v, had %+v", again, r)
			}
		})
		t.Run("the active placement cannot be taken away, another can, and a new one joins as standby", func(t *testing.T) {
			without := spec
			without.Placements = []infra.PlacementSpec{{Region: "west", Role: infra.Active, Driver: "sim"}}
			_, err := apply(t, db, s, meta, without)
			wants(t, err, omni.CodeInvalid, "east")

			other := spec
			other.Placements = []infra.PlacementSpec{
				{Region: "east", Role: infra.Standby, Driver: "sim", Address: "127.0.0.1:2"},
				{Region: "north", Role: infra.Active, Driver: "sim"},
			}
			if out, err := apply(t, db, s, meta, other); err != nil || out != omni.Updated {
				t.Fatal(out, err)
			}
			got := get(t, db, s, "orders-db")
			east, _ := got.Placement("east")
			north, _ := got.Placement("north")
			if _, still := got.Placement("west"); still || east.Role != infra.Active || east.Address != "127.0.0.1:2" || north.Role != infra.Standby {
				t.Errorf("got %+v", got.Placements)
			}
			if got.Version != r.Version+1 {
				t.Errorf("version %d", got.Version)
			}
		})
		t.Run("unknown regions are named", func(t *testing.T) {
			unknown := spec
			unknown.Placements = []infra.PlacementSpec{{Region: "mars", Role: infra.Active, Driver: "sim"}}
			_, err := apply(t, db, s, meta, unknown)
			wants(t, err, omni.CodeInvalid, "spec.placements[0].region", "mars")
		})
		t.Run("another tenant's are not there", func(t *testing.T) {
			err := db.Read(t.Context(), database.Tenant("evil"), func(ctx context.Context, tx *database.Tx) error {
				_, err := s.Resource(ctx, tx, "evil", "orders-db")
				return err
			})
			wants(t, err, omni.CodeNotFound)
		})
		t.Run("one that others need cannot be deleted", func(t *testing.T) {
			m, app := pair("orders-app", "orders-db")
			if _, err := apply(t, db, s, m, app); err != nil {
				t.Fatal(err)
			}
			del := func(name string) error {
				return write(t, db, func(ctx context.Context, tx *database.Tx) error { return s.DeleteResource(ctx, tx, "acme", name) })
			}
			wants(t, del("orders-db"), omni.CodeReferenced, "orders-app")
			must(t, del("orders-app"))
			must(t, del("orders-db"))
			wants(t, del("orders-db"), omni.CodeNotFound)
		})
	})
}

func TestNothingChangesUnderARun(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		world(t, db)
		run := ""
		s := infra.NewStore(infra.Options{Busy: func(_ context.Context, _ *database.Tx, tenant string) (string, error) {
			if tenant != "acme" {
				return "", nil
			}
			return run, nil
		}})
		meta, spec := pair("orders-db")
		if _, err := apply(t, db, s, meta, spec); err != nil {
			t.Fatal(err)
		}
		before := get(t, db, s, "orders-db")
		run = "run_1"
		if out, err := apply(t, db, s, meta, spec); err != nil || out != omni.Unchanged {
			t.Errorf("the same manifest: %s (%v)", out, err)
		}
		east, west, north := spec.Placements[0], spec.Placements[1], infra.PlacementSpec{Region: "north", Role: infra.Standby, Driver: "sim"}
		moved := west
		moved.Address = "127.0.0.9:1"
		for what, placements := range map[string][]infra.PlacementSpec{
			"added": {east, west, north}, "removed": {east}, "changed": {east, moved},
		} {
			wanted := spec
			wanted.Placements = placements
			_, err := apply(t, db, s, meta, wanted)
			if wants(t, err, omni.CodeConflict, "orders-db", "run_1"); t.Failed() {
				t.Errorf("a placement was %s", what)
			}
		}
		del := func() error {
			return write(t, db, func(ctx context.Context, tx *database.Tx) error {
				return s.DeleteResource(ctx, tx, "acme", "orders-db")
			})
		}
		wants(t, del(), omni.CodeConflict, "orders-db", "run_1")
		if now := get(t, db, s, "orders-db"); !reflect.DeepEqual(now, before) {
			t.Errorf("got %+v, had %+v", now, before)
		}
		other, _ := pair("orders-db")
		other.Tenant = "beta"
		if _, err := apply(t, db, s, other, spec); err != nil {
			t.Errorf("another tenant has no run: %v", err)
		}
		run = ""
		must(t, del())
	})
}

func TestGraph(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := world(t, db)
		both := func(first, second []string) error {
			return write(t, db, func(ctx context.Context, tx *database.Tx) error {
				for name, needs := range map[string][]string{"orders-app": first, "orders-db": second} {
					meta, spec := pair(name, needs...)
					if _, err := s.ApplyResource(ctx, tx, meta, spec); err != nil {
						return err
					}
				}
				return s.CheckGraph(ctx, tx, "acme")
			})
		}
		wants(t, both([]string{"orders-db"}, []string{"orders-app"}), omni.CodeInvalid, "orders-app → orders-db → orders-app")
		wants(t, both([]string{"orders-db", "ghost"}, nil), omni.CodeInvalid, `"ghost"`, "spec.dependsOn")
		must(t, both([]string{"orders-db"}, nil))
	})
}

func TestRoles(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := world(t, db)
		meta, spec := pair("orders-db")
		if _, err := apply(t, db, s, meta, spec); err != nil {
			t.Fatal(err)
		}
		set := func(region string, role infra.Role, run string, epoch int64) error {
			return write(t, db, func(ctx context.Context, tx *database.Tx) error {
				return s.SetRole(ctx, tx, "acme", "orders-db", region, role, run, epoch)
			})
		}
		wants(t, set("west", infra.Active, "r1", 5), omni.CodeConflict, "active in another region")
		must(t, set("east", infra.Fenced, "r1", 5))
		must(t, set("west", infra.Active, "r1", 5))
		before := told(t, db, infra.EventPlacementChanged)
		must(t, set("west", infra.Active, "r1", 5))
		must(t, set("west", infra.Active, "r1", 6)) // a repeat under the next leader
		if after := told(t, db, infra.EventPlacementChanged); after != before {
			t.Errorf("a repeat told of %d changes", after-before)
		}
		wants(t, set("west", infra.Standby, "r0", 5), omni.CodeStale, "later leader")
		wants(t, set("mars", infra.Standby, "r1", 6), omni.CodeNotFound)
		wants(t, set("east", "king", "r1", 6), omni.CodeInvalid)

		t.Run("the database itself holds that never two are active", func(t *testing.T) {
			err := write(t, db, func(ctx context.Context, tx *database.Tx) error {
				_, err := tx.Exec(ctx, `update placements set role = 'active' where region = 'east'`)
				return err
			})
			wants(t, err, omni.CodeConflict)
		})
		t.Run("serving follows, once", func(t *testing.T) {
			for range 2 {
				must(t, write(t, db, func(ctx context.Context, tx *database.Tx) error {
					return s.SetServing(ctx, tx, "acme", "orders-db", "west", "r1")
				}))
			}
			if r := get(t, db, s, "orders-db"); r.Serving != "west" {
				t.Errorf("serves from %s", r.Serving)
			}
			err := write(t, db, func(ctx context.Context, tx *database.Tx) error {
				return s.SetServing(ctx, tx, "acme", "orders-db", "north", "r1")
			})
			wants(t, err, omni.CodeNotFound)
		})
		t.Run("who is active where", func(t *testing.T) {
			must(t, db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				west, err := s.TenantsActiveIn(ctx, tx, "west", "", 10)
				if err != nil {
					return err
				}
				east, err := s.TenantsActiveIn(ctx, tx, "east", "", 10)
				if len(west) != 1 || len(east) != 0 {
					t.Errorf("west %v, east %v", west, east)
				}
				return err
			}))
		})
		if told(t, db, events.AuditType) == 0 {
			t.Error("nothing was audited")
		}
		t.Run("removing a placement is not the deed of the run that moved it last", func(t *testing.T) {
			must(t, write(t, db, func(ctx context.Context, tx *database.Tx) error {
				return s.DeleteResource(ctx, tx, "acme", "orders-db")
			}))
			removed := 0
			must(t, db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return tx.Query(ctx, `select event from outbox where type = $1`, []any{infra.EventPlacementChanged}, func(scan func(...any) error) error {
					var text string
					var e struct{ Data infra.PlacementChanged }
					if err := scan(&text); err != nil {
						return err
					}
					err := json.Unmarshal([]byte(text), &e)
					if e.Data.Role == "" {
						if removed++; e.Data.Run != "" {
							t.Errorf("got %+v", e.Data)
						}
					}
					return err
				})
			}))
			if removed != 2 {
				t.Errorf("%d placements were removed", removed)
			}
		})
	})
}

func TestLater(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := world(t, db)
		for _, name := range []string{"a", "b"} {
			meta, spec := pair(name)
			if _, err := apply(t, db, s, meta, spec); err != nil {
				t.Fatal(err)
			}
		}
		move := func(epoch int64, moves ...infra.Move) error {
			return write(t, db, func(ctx context.Context, tx *database.Tx) error {
				for _, m := range moves {
					m.Tenant, m.Type, m.Run, m.Epoch = "acme", "database", "r1", epoch
					if err := s.MoveLater(ctx, tx, m); err != nil {
						return err
					}
				}
				return nil
			})
		}
		fence := []infra.Move{{Resource: "b", Region: "east", Role: infra.Fenced}, {Resource: "a", Region: "east", Role: infra.Fenced}}
		promote := []infra.Move{{Resource: "a", Region: "west", Role: infra.Active}, {Resource: "b", Region: "west", Role: infra.Active}}
		wants(t, move(5, promote...), omni.CodeConflict, "never two at once")
		must(t, move(5, fence...))
		must(t, move(5, promote...))
		must(t, move(6, promote...)) // a repeat under the next leader
		wants(t, move(5, infra.Move{Resource: "a", Region: "west", Role: infra.Standby}), omni.CodeStale, "later leader")
		wants(t, move(6, infra.Move{Resource: "ghost", Region: "west", Role: infra.Standby}), omni.CodeNotFound, "ghost")
		wants(t, move(6, infra.Move{Resource: "a", Region: "north", Role: infra.Standby}), omni.CodeNotFound, "north")

		serve := func(region string) error {
			return write(t, db, func(ctx context.Context, tx *database.Tx) error {
				for _, name := range []string{"b", "a"} {
					if err := s.ServeLater(ctx, tx, "acme", name, region, "r1"); err != nil {
						return err
					}
				}
				return nil
			})
		}
		must(t, serve("west"))
		must(t, serve("west"))
		wants(t, serve("north"), omni.CodeNotFound)
		for _, name := range []string{"a", "b"} {
			r := get(t, db, s, name)
			east, _ := r.Placement("east")
			west, _ := r.Placement("west")
			if east.Role != infra.Fenced || west.Role != infra.Active || west.Epoch != 6 || west.Run != "r1" || !west.Since.After(r.CreatedAt) || r.Serving != "west" {
				t.Errorf("got %+v", r)
			}
		}
	})
}
