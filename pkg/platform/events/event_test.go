package events_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func TestEventJSON(t *testing.T) {
	t.Run("is a CloudEvent", func(t *testing.T) {
		e := events.New("omni.region.changed", "region/us", "acme", map[string]int{"n": 1})
		e.ID, e.Source, e.RequestID, e.TraceParent = "evt_1", "/omnicloud/infra", "req_1", "00-a-b-01"
		e.Time = time.Date(2026, 7, 1, 12, 0, 0, 5000, time.UTC)
		got, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"specversion":"1.0","id":"evt_1","source":"/omnicloud/infra","type":"omni.region.changed","subject":"region/us",` +
			`"time":"2026-07-01T12:00:00.000005Z","datacontenttype":"application/json","tenant":"acme","requestid":"req_1",` +
			`"traceparent":"00-a-b-01","data":{"n":1}}`
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("comes back as it went", rapid.MakeCheck(func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z0-9/.é"\\ ]{1,12}`)
		e := events.New(text.Draw(t, "type"), text.Draw(t, "subject"), text.Draw(t, "tenant"), text.Draw(t, "data"))
		e.ID, e.Source = text.Draw(t, "id"), text.Draw(t, "source")
		e.Time = time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(t, "time")).UTC()
		wire, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back events.Event
		if err := json.Unmarshal(wire, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(wire) {
			t.Fatalf("%s became %s (%v)", wire, again, err)
		}
	}))
	t.Run("refuses what is none", func(t *testing.T) {
		for _, text := range []string{
			`[]`, `{}`, `{"specversion":"0.3","id":"a","source":"b","type":"c"}`, `{"specversion":"1.0","id":"","source":"b","type":"c"}`,
			`{"specversion":"1.0","id":"a","source":"b","type":"c","datacontenttype":"text/xml"}`,
			`{"specversion":"1.0","id":"a","source":"b","type":"c","time":"yesterday"}`,
		} {
			var e events.Event
			if err := json.Unmarshal([]byte(text), &e); err == nil {
				t.Errorf("%s was taken", text)
			}
		}
	})
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"a","source":"b","type":"c","time":"2026-07-01T12:00:00Z","data":[1]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var e events.Event
		if json.Unmarshal(text, &e) != nil {
			return
		}
		wire, err := json.Marshal(e)
		if err != nil {
			t.Skip("a year that RFC 3339 cannot write")
		}
		var back events.Event
		if err := json.Unmarshal(wire, &back); err != nil {
			t.Errorf("%s cannot be read back: %v", wire, err)
		}
	})
}

func TestDigest(t *testing.T) {
	type pair struct {
		B int64  `json:"b"`
		A string `json:"a"`
	}
	a := events.Digest(pair{B: 1 << 60, A: "x"})
	if b := events.Digest(map[string]any{"a": "x", "b": int64(1) << 60}); a != b || len(a) != 64 {
		t.Errorf("the same JSON has the digests %s and %s", a, b)
	}
	if b := events.Digest(pair{B: 1<<60 + 1, A: "x"}); a == b {
		t.Error("large numbers lose their last digits")
	}
	if events.Digest(nil) != "" || events.Digest(func() {}) != "" {
		t.Error("nothing has a digest")
	}
}

func TestAppend(t *testing.T) {
	databasetest.Each(t, database.Tenants, func(t *testing.T, db *database.DB) {
		var got []events.Event
		relay := events.NewRelay(db, []events.Consumer{{
			Name: "all", Database: db, Handle: func(_ context.Context, _ *database.Tx, e events.Event) error {
				got = append(got, e)
				return nil
			},
		}}, events.RelayOptions{})
		ctx := omni.WithRequest(t.Context(), omni.Request{
			ID: "req_7", TraceParent: "00-t", Identity: omni.Identity{Actor: "key:ops", KeyID: "key_1"},
		})
		err := db.Write(ctx, database.Tenant("acme"), func(ctx context.Context, tx *database.Tx) error {
			if err := events.Append(ctx, tx, events.New("omni.a", "a/1", "acme", 1)); err != nil {
				return err
			}
			return events.Audit(ctx, tx, omni.AuditRecord{Tenant: "acme", Action: "a.create", Object: "a/1"})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := relay.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 {
			t.Fatalf("%d events came", len(got))
		}
		for _, e := range got {
			if e.ID == "" || e.Time.IsZero() || e.Source != "/omnicloud/tenants" || e.RequestID != "req_7" || e.TraceParent != "00-t" || e.Tenant != "acme" {
				t.Errorf("something is missing: %+v", e)
			}
		}
		var rec omni.AuditRecord
		if err := json.Unmarshal(got[1].Data, &rec); err != nil {
			t.Fatal(err)
		}
		if got[1].Type != events.AuditType || rec.ID == "" || rec.Actor != "key:ops" || rec.KeyID != "key_1" || rec.RequestID != "req_7" || rec.At.IsZero() {
			t.Errorf("the audit record lacks something: %+v", rec)
		}

		t.Run("refuses", func(t *testing.T) {
			for name, e := range map[string]events.Event{
				"a foreign tenant's":  events.New("omni.a", "a", "globex", 1),
				"the platform's":      events.New("omni.a", "a", "", 1),
				"one without subject": events.New("omni.a", "", "acme", 1),
				"data that is none":   events.New("omni.a", "a", "acme", func() {}),
				"a huge one":          events.New("omni.a", "a", "acme", strings.Repeat("x", events.MaxEvent)),
			} {
				err := db.Write(t.Context(), database.Tenant("acme"), func(ctx context.Context, tx *database.Tx) error {
					return events.Append(ctx, tx, e)
				})
				if err == nil {
					t.Errorf("%s was taken", name)
				}
			}
			if pending, _, err := relay.Lag(t.Context()); err != nil || pending != 0 {
				t.Errorf("%d of them are pending, %v", pending, err)
			}
		})
	})
}
