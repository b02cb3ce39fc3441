package shop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"
)

// The modes of an active database: with whom it makes orders durable before it acknowledges them.
const (
	modeWaiting = "waiting" // the standby is silent, for less than the grace: nothing is acknowledged
	modeJoining = "joining" // the standby is catching up: nothing is acknowledged that it lacks
	modeSynced  = "synced"  // the standby has all that was ever acknowledged, and must have each new order
	modeAlone   = "alone"   // there is no standby: this database alone is enough
)

// joinWithin is how near to the end a standby must be before orders wait for it, in records.
const joinWithin = 64

// database is the order store of one region.
type database struct {
	member *member
	caller *caller
	broken chan error // the disk failed: the process must end, since what is durable is no longer known

	stopSyncing context.CancelFunc
	work        sync.WaitGroup

	mu       sync.Mutex
	journal  *journal
	accepts  bool // takes writes
	epoch    int64
	term     int64
	mode     string
	durable  int64 // sequence number up to which this disk has everything
	commit   int64 // … up to which orders are acknowledged
	acked    int64 // … up to which the standby's disk has everything
	heard    time.Time
	stream   *stream       // the standby's, while it is connected
	changed  chan struct{} // closed and replaced whenever something above changes
	follower *follower     // while this database is a standby
	cuts     int           // how often the journal was cut, so that a sync from before is not counted
	unsynced chan struct{} // holds one token while there is something to make durable
}

func newDatabase(ctx context.Context, m *member) (*database, error) {
	j, err := openJournal(filepath.Join(m.home.path, "journal"), maxJournal)
	if err != nil {
		return nil, err
	}
	if j.cut > 0 {
		m.log.WarnContext(ctx, "a torn last line was cut off the journal", "bytes", j.cut, "last", j.last.Seq)
	}
	d := &database{
		member: m, caller: newCaller(m.config.Secret), broken: make(chan error, 1), journal: j,
		durable: j.last.Seq, changed: make(chan struct{}), unsynced: make(chan struct{}, 1),
	}
	ctx, d.stopSyncing = context.WithCancel(ctx)
	d.work.Go(func() { d.syncing(ctx) })
	d.work.Go(func() { d.watching(ctx) })
	return d, nil
}

func (d *database) close() error {
	d.stopSyncing()
	d.stopFollowing()
	d.work.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.journal.close()
}

// notify wakes whoever waits for a change. The caller holds mu.
func (d *database) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// advance acknowledges what may be acknowledged by now. The caller holds mu.
func (d *database) advance() {
	reached := d.durable
	if d.mode != modeAlone {
		reached = min(reached, d.acked)
	}
	if d.accepts {
		d.commit = max(d.commit, reached)
		if d.mode == modeJoining && d.acked >= d.commit {
			d.mode = modeSynced
		}
	}
	d.notify()
}

// syncing makes appended records durable, all that have gathered at a time.
func (d *database) syncing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.unsynced:
		}
		d.mu.Lock()
		upTo, file, cuts := d.journal.last.Seq, d.journal.file, d.cuts
		d.mu.Unlock()
		err := file.Sync()
		d.mu.Lock()
		if err == nil && cuts == d.cuts {
			d.durable = max(d.durable, upTo)
			d.advance()
		}
		d.mu.Unlock()
		if err != nil {
			d.fail(fmt.Errorf("making the journal durable: %w", err))
			return
		}
	}
}

// fail ends the process: after a failed sync nobody knows what the disk holds.
func (d *database) fail(err error) {
	d.mu.Lock()
	d.accepts = false
	d.notify()
	d.mu.Unlock()
	select {
	case d.broken <- err:
	default:
	}
}

// watching looks after an active database's standby: it goes on alone when that has been silent for the grace, unless the
// other region has begun a later term: then this database fences itself.
func (d *database) watching(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	asked := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			silent := d.silent(now)
			if !silent && (!d.isAlone() || now.Sub(asked) < time.Second) {
				continue
			}
			asked = now
			if d.superseded(ctx) {
				continue
			}
			if silent {
				d.goAlone()
			}
		}
	}
}

// silent says whether the standby that orders wait for has not been heard for the grace.
func (d *database) silent(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accepts && d.mode != modeAlone && now.Sub(d.heard) >= d.member.config.grace()
}

func (d *database) isAlone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accepts && d.mode == modeAlone
}

// superseded asks the other region's database for its term, and fences this one when it is later than its own.
func (d *database) superseded(ctx context.Context) bool {
	peer, err := d.askPeer(ctx)
	if err != nil {
		return false
	}
	d.mu.Lock()
	own, epoch := d.term, d.epoch
	later := d.accepts && peer.Term > own
	if later {
		d.accepts = false
		d.notify()
	}
	d.mu.Unlock()
	if !later {
		return false
	}
	d.member.log.WarnContext(ctx, "the other region has begun a later term: fencing this database", "own", own, "other", peer.Term)
	err = d.member.act(ctx, request{Action: actionFence, Epoch: max(epoch, d.member.now().Epoch)})
	if err != nil && !errors.Is(err, errStaleEpoch) { // a stale one means that it was told something newer meanwhile
		d.fail(fmt.Errorf("fencing itself: %w", err))
	}
	return true
}

func (d *database) askPeer(ctx context.Context) (Status, error) {
	return d.caller.state(ctx, 300*time.Millisecond, d.member.config.peer(d.member.region.Name).control(DB))
}

func (d *database) goAlone() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.accepts || d.mode == modeAlone || time.Since(d.heard) < d.member.config.grace() {
		return
	}
	d.mode = modeAlone
	if d.stream != nil {
		d.stream.drop()
		d.stream = nil
	}
	d.member.log.Warn("the standby is silent: going on alone", "commit", d.commit)
	d.advance()
}

// errNotActive says that this database takes no orders, or no longer does. An order that was under way may be stored; its
// client asks again with the same id.
var errNotActive = errors.New("this database takes no orders")

var errOtherOrder = errors.New("there is another order with this id")

// accept stores an order and returns the record that holds it; it is not acknowledged yet.
func (d *database) accept(o Order) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.accepts {
		return 0, errNotActive
	}
	if seq, known := d.journal.orders[o.ID]; known {
		same, err := d.holds(seq, o)
		if err == nil && !same {
			err = fmt.Errorf("%q: %w", o.ID, errOtherOrder)
		}
		return seq, err
	}
	r := record{Kind: kindOrder, ID: o.ID, Item: o.Item, Region: d.member.region.Name, Epoch: d.epoch, Term: d.term}
	r, err := d.journal.append(r.stamp())
	if err != nil {
		return 0, err
	}
	d.wakeSyncing()
	return r.Seq, nil
}

func (d *database) wakeSyncing() {
	select {
	case d.unsynced <- struct{}{}:
	default:
	}
}

// holds says whether the record with that sequence number is order o. The caller holds mu.
func (d *database) holds(seq int64, o Order) (bool, error) {
	r, err := d.journal.at(seq)
	return r.ID == o.ID && r.Item == o.Item, err
}

// committed waits until the record may be acknowledged.
func (d *database) committed(ctx context.Context, seq int64) (Receipt, error) {
	for {
		d.mu.Lock()
		receipt, accepts, done, changed := Receipt{}, d.accepts, d.commit >= seq, d.changed
		var err error
		if accepts && done {
			var r record
			r, err = d.journal.at(seq)
			receipt = Receipt{ID: r.ID, Seq: seq, Region: r.Region, ServedBy: d.member.region.Name, Epoch: r.Epoch, Term: r.Term}
		}
		d.mu.Unlock()
		if !accepts {
			return receipt, errNotActive
		}
		if done {
			return receipt, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return receipt, fmt.Errorf("the standby has not confirmed it in time: %w", ctx.Err())
		}
	}
}

func (d *database) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { health(w, d.member) })
	mux.HandleFunc("POST /orders", d.postOrder)
	mux.HandleFunc("GET /orders/{id}", d.getOrder)
	return mux
}

func (d *database) postOrder(w http.ResponseWriter, r *http.Request) {
	o := Order{}
	if err := decodeStrict(r.Body, maxOrder, &o); err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, errTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		refuse(w, status, codeInvalid, err)
		return
	}
	if err := o.check(); err != nil {
		refuse(w, http.StatusUnprocessableEntity, codeInvalid, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), orderWait)
	defer cancel()
	seq, err := d.accept(o)
	receipt := Receipt{}
	if err == nil {
		receipt, err = d.committed(ctx, seq)
	}
	switch {
	case err == nil:
		answer(w, http.StatusCreated, receipt)
	case errors.Is(err, errNotActive):
		refuse(w, http.StatusServiceUnavailable, string(d.member.now().Role), err)
	case errors.Is(err, errOtherOrder):
		refuse(w, http.StatusConflict, "conflict", err)
	case isFull(err):
		refuse(w, http.StatusInsufficientStorage, "full", err)
	default:
		refuse(w, http.StatusServiceUnavailable, "unknown", err)
	}
}

// getOrder answers with the receipt of an order that was acknowledged.
func (d *database) getOrder(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	seq, known := d.journal.orders[r.PathValue("id")]
	known = known && seq <= d.commit
	d.mu.Unlock()
	if !known {
		refuse(w, http.StatusNotFound, "not_found", errors.New("there is no such order"))
		return
	}
	receipt, err := d.committed(r.Context(), seq)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, string(d.member.now().Role), err)
		return
	}
	answer(w, http.StatusOK, receipt)
}
