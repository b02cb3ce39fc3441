package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

const createBody = `{"name":"a","spec":{"size":1}}`

// counting is an API whose one route counts how often it had its effect.
func counting(db *database.DB, secret bool, effect func(n int64) error) (http.Handler, *atomic.Int64) {
	var n atomic.Int64
	api := rest.New(rest.Options{Authenticator: someKeys(), Idempotency: db, Logger: discard(), Timeout: time.Minute})
	rest.Handle(api, rest.Route{
		Method: http.MethodPost, Path: "/api/v1/things", ID: "create-thing", Permission: "things.write",
		Status: http.StatusCreated, Secret: secret,
	}, func(_ context.Context, in *createThing) (*rest.ItemOutput[thing], error) {
		made := n.Add(1)
		if effect != nil {
			if err := effect(made); err != nil {
				return nil, err
			}
		}
		in.Body.Name = fmt.Sprintf("made-%d", made)
		return &rest.ItemOutput[thing]{ETag: rest.ETag(made), Body: in.Body}, nil
	})
	return api.Handler(), &n
}

func TestIdempotency(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Run("a repeat gets the stored answer", func(t *testing.T) {
			h, n := counting(db, false, nil)
			first := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "repeat")
			again := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "repeat")
			if n.Load() != 1 || first.status != 201 || again.status != 201 || again.body != first.body {
				t.Errorf("%d effects; first %d %s, again %d %s", n.Load(), first.status, first.body, again.status, again.body)
			}
			if first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" {
				t.Error("a replay must say so, and only a replay")
			}
			for _, name := range []string{"Content-Type", "ETag"} {
				if first.header.Get(name) == "" || first.header.Get(name) != again.header.Get(name) {
					t.Errorf("%s: %q, then %q", name, first.header.Get(name), again.header.Get(name))
				}
			}
			if first.header.Get("X-Request-ID") == again.header.Get("X-Request-ID") {
				t.Error("both requests have one id")
			}
		})
		t.Run("no key, no memory", func(t *testing.T) {
			h, n := counting(db, false, nil)
			do(t, h, "POST", "/api/v1/things", createBody)
			do(t, h, "POST", "/api/v1/things", createBody)
			if n.Load() != 2 {
				t.Errorf("%d effects", n.Load())
			}
		})
		t.Run("another body or query is refused", func(t *testing.T) {
			h, n := counting(db, false, nil)
			do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "other")
			for target, body := range map[string]string{"/api/v1/things": strings.ReplaceAll(createBody, "1", "2"), "/api/v1/things?tenant=x": createBody} {
				if p := do(t, h, "POST", target, body, "Idempotency-Key", "other").problem(t); p.Status != 422 || n.Load() != 1 {
					t.Errorf("%s %s: got %+v, %d effects", target, body, p, n.Load())
				}
			}
		})
		t.Run("another API key has keys of its own", func(t *testing.T) {
			h, n := counting(db, false, nil)
			do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "mine")
			do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "mine", "Authorization", "Bearer acme")
			if n.Load() != 2 {
				t.Errorf("%d effects", n.Load())
			}
		})
		t.Run("a refusal is stored, a fault of ours is not", func(t *testing.T) {
			refused, n := counting(db, false, func(int64) error { return omni.Errorf(omni.CodeRefused, "the guard said no") })
			for range 2 {
				if p := do(t, refused, "POST", "/api/v1/things", createBody, "Idempotency-Key", "refused").problem(t); p.Code != omni.CodeRefused {
					t.Errorf("got %+v", p)
				}
			}
			if n.Load() != 1 {
				t.Errorf("refused: %d effects", n.Load())
			}
			for i, first := range []func() error{
				func() error { return omni.Errorf(omni.CodeUnavailable, "not now") },
				func() error { return omni.Errorf(omni.CodeLimited, "not now") },
				func() error { panic("oh") },
			} {
				h, n := counting(db, false, func(made int64) error {
					if made == 1 {
						return first()
					}
					return nil
				})
				key := fmt.Sprintf("failing-%d", i)
				one := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", key)
				two := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", key)
				if one.status < 429 || two.status != 201 || n.Load() != 2 {
					t.Errorf("got %d, then %d, %d effects", one.status, two.status, n.Load())
				}
			}
		})
		t.Run("an answer with a secret is not kept", func(t *testing.T) {
			h, n := counting(db, true, nil)
			do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "secret")
			if p := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "secret").problem(t); p.Code != omni.CodeConflict || n.Load() != 1 {
				t.Errorf("got %+v, %d effects", p, n.Load())
			}
			var kept int
			err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return tx.QueryRow(ctx, `select count(*) from idempotency_keys where key = $1 and body is not null`, []any{"secret"}, &kept)
			})
			if err != nil || kept != 0 {
				t.Errorf("%d bodies kept, %v", kept, err)
			}
		})
		t.Run("keys that are none", func(t *testing.T) {
			h, n := counting(db, false, nil)
			for _, key := range []string{"a b", "ü", strings.Repeat("a", 256), "a\tb"} {
				if p := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", key).problem(t); p.Status != 422 {
					t.Errorf("%q: %+v", key, p)
				}
			}
			if n.Load() != 0 {
				t.Errorf("%d effects", n.Load())
			}
		})
	})
}

func TestIdempotencyUnderContention(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		h, n := counting(db, false, nil)
		var created, replayed, busy atomic.Int64
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				a := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "contended")
				switch {
				case a.status == 201 && a.header.Get("Idempotent-Replayed") == "true":
					replayed.Add(1)
				case a.status == 201:
					created.Add(1)
				case a.status == 409 && a.header.Get("Retry-After") == "1":
					busy.Add(1)
				default:
					t.Errorf("got %d: %s", a.status, a.body)
				}
			})
		}
		all.Wait()
		if n.Load() != 1 || created.Load() != 1 || created.Load()+replayed.Load()+busy.Load() != 50 {
			t.Errorf("%d effects, %d created, %d replayed, %d told to wait", n.Load(), created.Load(), replayed.Load(), busy.Load())
		}
	})
}

func TestIdempotencyWhileRunning(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		entered, leave := make(chan struct{}), make(chan struct{})
		h, n := counting(db, false, func(int64) error { close(entered); <-leave; return nil })
		first := make(chan answer, 1)
		go func() { first <- do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "slow") }()
		<-entered
		a := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "slow")
		if p := a.problem(t); p.Status != 409 || a.header.Get("Retry-After") != "1" {
			t.Errorf("got %+v, Retry-After %q", p, a.header.Get("Retry-After"))
		}
		close(leave)
		if got := <-first; got.status != 201 || n.Load() != 1 {
			t.Errorf("got %d, %d effects", got.status, n.Load())
		}
	})
}

func TestIdempotencyAfterACrash(t *testing.T) {
	var skew atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
	databasetest.EachAt(t, database.Infra, now, func(t *testing.T, db *database.DB) {
		skew.Store(0)
		crash(t, db)
		h, n := counting(db, false, nil)
		if a := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "crashed"); a.status != 409 || n.Load() != 0 {
			t.Fatalf("before the lease has ended: %d, %d effects", a.status, n.Load())
		}
		skew.Store(int64(3 * time.Minute))
		if a := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "crashed"); a.status != 201 || n.Load() != 1 {
			t.Fatalf("after it: %d, %d effects", a.status, n.Load())
		}
		skew.Store(int64(26 * time.Hour))
		if a := do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "crashed"); a.status != 201 || n.Load() != 2 {
			t.Fatalf("after the retention: %d, %d effects", a.status, n.Load())
		}
	})
}

// crash leaves a row behind as a server does that is killed while its handler runs.
func crash(t *testing.T, db *database.DB) {
	t.Helper()
	h, _ := counting(db, false, func(int64) error {
		err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			_, err := tx.Exec(ctx, `update idempotency_keys set key = 'crashed' where key = 'doomed'`)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return nil
	})
	do(t, h, "POST", "/api/v1/things", createBody, "Idempotency-Key", "doomed")
}
