package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

const (
	idempotencyHeader = "Idempotency-Key"
	replayedHeader    = "Idempotent-Replayed"

	maxKey     = 255            // bytes
	retention  = 24 * time.Hour // of a stored answer
	sweepEvery = 128            // claims
	sweepBatch = 500            // rows
	storeTime  = 10 * time.Second
)

// idempotency answers a repeated POST with what the first one was answered.
//
// The effect of a handler and the row here are two transactions: after a crash between them the row says running until its
// lease ends, and then the handler runs again. Within one life of the server a handler runs once for a key.
type idempotency struct {
	db     *database.DB
	log    *slog.Logger
	claims atomic.Int64
}

// call is one request with a key.
type call struct {
	key    string
	body   []byte
	secret bool
	lease  time.Duration // longer than the handler may take
}

// claim is a row that says running, and whose it is.
type claim struct {
	scope, key string
	at         time.Time
}

// stored is an answer that was kept.
type stored struct {
	hash, contentType, headers, state string
	status                            int
	body                              []byte
}

// serve runs next once for the key, or answers what is stored. An error has not been answered yet.
func (i *idempotency) serve(w http.ResponseWriter, r *http.Request, next http.HandlerFunc, c call) error {
	if err := checkKey(c.key); err != nil {
		return err
	}
	hash := requestHash(r, c.body)
	mine, old, err := i.claim(r, c, hash)
	if err != nil {
		return err
	}
	if mine == nil {
		return i.replay(w, old, hash)
	}
	rec := newRecorder()
	kept := false
	defer func() {
		if !kept { // also when next panicked
			i.release(r.Context(), *mine)
		}
	}()
	next(rec, r)
	rec.WriteHeader(http.StatusOK)
	if rec.status < http.StatusInternalServerError && rec.status != http.StatusTooManyRequests {
		i.keep(r.Context(), *mine, rec, c.secret)
		kept = true
	}
	rec.send(w)
	return nil
}

func checkKey(key string) error {
	ok := len(key) <= maxKey
	for _, b := range []byte(key) {
		ok = ok && b > ' ' && b < 0x7f
	}
	if ok {
		return nil
	}
	return omni.Errorf(omni.CodeInvalid, "Idempotency-Key: is not a key").
		WithFields(omni.FieldError{Path: idempotencyHeader, Message: "must be 1 to 255 printable ASCII characters without spaces"}).
		WithHint("use a random UUID for each operation")
}

// requestHash stands for all that decides what a request does: the query names a tenant, so it counts.
func requestHash(r *http.Request, body []byte) string {
	h := sha256.New()
	h.Write([]byte(r.Method + " " + r.URL.RequestURI() + "\n" + r.Header.Get("Content-Type") + "\n"))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// claim makes the row, or gives the one that is there.
func (i *idempotency) claim(r *http.Request, c call, hash string) (mine *claim, old stored, err error) {
	scope := omni.RequestFrom(r.Context()).Identity.KeyID + " " + r.Method + " " + r.URL.Path
	sweep := i.claims.Add(1)%sweepEvery == 0
	err = i.db.Write(r.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		mine, old = nil, stored{}
		if sweep {
			if _, err := tx.Exec(ctx, sqlSweep, database.Time(tx.Now()), sweepBatch); err != nil {
				return err
			}
		}
		n, err := tx.Exec(ctx, sqlClaim, scope, c.key, hash, database.Time(tx.Now()), database.Time(tx.Now().Add(c.lease)))
		if err != nil {
			return err
		}
		if n == 1 {
			mine = &claim{scope: scope, key: c.key, at: tx.Now()}
			return nil
		}
		err = tx.QueryRow(ctx, sqlStored, []any{scope, c.key},
			&old.hash, &old.status, &old.contentType, &old.headers, &old.body, &old.state)
		if omni.Is(err, omni.CodeNotFound) { // given up between the two statements
			old = stored{hash: hash, state: "running"}
			return nil
		}
		return err
	})
	return mine, old, err
}

func (i *idempotency) replay(w http.ResponseWriter, old stored, hash string) error {
	switch {
	case old.hash != hash:
		return omni.Errorf(omni.CodeInvalid, "Idempotency-Key: was used before, for another request").
			WithFields(omni.FieldError{Path: idempotencyHeader, Message: "belongs to a request with another body or query"}).
			WithHint("use a new key for a new request, and the same body for a repeat")
	case old.state != "done":
		w.Header().Set("Retry-After", "1")
		return omni.Errorf(omni.CodeConflict, "a request with this Idempotency-Key is still being worked on").
			WithHint("ask again in a second, with the same key")
	case old.status == 0:
		return omni.Errorf(omni.CodeConflict, "this was done before, and its answer holds a secret that is shown only once").
			WithHint("look up what was made; if the secret is lost, rotate it")
	}
	var headers http.Header
	if err := json.Unmarshal([]byte(old.headers), &headers); err != nil {
		return omni.Errorf(omni.CodeInternal, "read a stored answer: %w", err)
	}
	maps.Copy(w.Header(), headers)
	if old.contentType != "" {
		w.Header().Set("Content-Type", old.contentType)
	}
	w.Header().Set(replayedHeader, "true")
	w.WriteHeader(old.status)
	_, _ = w.Write(old.body) // the client may be gone
	return nil
}

// keep stores the answer. The effect is there already: a failure to store it must not turn the answer into an error, and leaves
// the row running until its lease ends. Of an answer with a secret only that it was given is kept, as status 0.
func (i *idempotency) keep(ctx context.Context, c claim, rec *recorder, secret bool) {
	status, contentType, body := rec.status, rec.header.Get("Content-Type"), rec.body.Bytes()
	headers := rec.header.Clone()
	headers.Del("Content-Type")
	if secret && status < http.StatusBadRequest {
		status, contentType, body, headers = 0, "", nil, nil
	}
	text, err := json.Marshal(headers)
	if err == nil {
		err = i.write(ctx, func(ctx context.Context, tx *database.Tx) error {
			_, err := tx.Exec(ctx, sqlFinish, c.scope, c.key, database.Time(c.at), status, contentType, string(text), body,
				database.Time(tx.Now().Add(retention)))
			return err
		})
	}
	if err != nil {
		i.log.ErrorContext(ctx, "an answer could not be kept for its idempotency key", slog.Any("error", err))
	}
}

// release lets the key be used again.
func (i *idempotency) release(ctx context.Context, c claim) {
	err := i.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, sqlRelease, c.scope, c.key, database.Time(c.at))
		return err
	})
	if err != nil {
		i.log.ErrorContext(ctx, "an idempotency key could not be released", slog.Any("error", err))
	}
}

// write goes on when the client has left.
func (i *idempotency) write(ctx context.Context, fn func(context.Context, *database.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	return i.db.Write(ctx, database.Platform(), fn)
}
