package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// prepare implements service.
func (d *database) prepare(ctx context.Context, r request, next *state) error {
	switch r.Action {
	case actionFence, actionDemote:
		// From here on nothing is accepted or acknowledged; the answer comes after that is on disk.
		d.mu.Lock()
		d.accepts = false
		d.notify()
		d.mu.Unlock()
		if r.Action == actionFence {
			d.stopFollowing()
		}
		return nil
	case actionPromote:
		return d.preparePromotion(ctx, next)
	}
	return nil
}

// preparePromotion makes sure that the other database has stopped taking writes and that this one has all that it had, as far as the
// other one still answers, and chooses the new term.
func (d *database) preparePromotion(ctx context.Context, next *state) error {
	d.mu.Lock()
	accepts, term := d.accepts, max(d.term, next.Term, d.journal.last.Term)
	d.mu.Unlock()
	if accepts {
		return nil // it is active already, and keeps its term
	}
	if peer, err := d.askPeer(ctx); err == nil {
		if peer.Role == Active && peer.Accepts {
			return fmt.Errorf("%w: the database of %s still takes writes: fence it first", errRefused, peer.Region)
		}
		if err := d.catchUp(ctx, peer); err != nil {
			return err
		}
		term = max(term, peer.Term)
	}
	d.stopFollowing()
	d.mu.Lock()
	next.Term = max(term, d.journal.last.Term) + 1
	d.mu.Unlock()
	return nil
}

// catchUp waits until this database has every record of the old active one, which is fenced.
func (d *database) catchUp(ctx context.Context, peer Status) error {
	has := func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.journal.last.Term > peer.Term {
			return true // this one is ahead: the other was active before it
		}
		if d.journal.last.Seq < peer.Last {
			return false
		}
		chain, err := d.journal.chainAt(peer.Last)
		return err == nil && string(chain[:]) == peer.Chain
	}
	if err := until(ctx, has); err != nil {
		return fmt.Errorf("%w: the database of %s has records that this one lacks; demote this one so that it follows, or stop that one to give them up",
			errRefused, peer.Region)
	}
	return nil
}

// settle implements service.
func (d *database) settle(ctx context.Context, s state) error {
	switch s.Role {
	case Active:
		d.stopFollowing()
		return d.open(s)
	case Standby:
		d.shut(s)
		d.startFollowing(ctx)
	default:
		d.shut(s)
		d.stopFollowing()
	}
	return nil
}

// shut takes no writes.
func (d *database) shut(s state) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accepts = false
	d.epoch, d.term = s.Epoch, max(s.Term, d.journal.last.Term)
	if s.Role == Standby && d.stream != nil {
		d.stream.drop()
		d.stream = nil
	}
	d.notify()
}

// open takes writes. A term that has no record yet begins with one: after a promotion the database goes on alone until a
// standby has joined; after a restart it gives its standby the grace to come back.
func (d *database) open(s state) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch = s.Epoch
	if d.accepts {
		return nil
	}
	d.mode, d.heard, d.acked = modeWaiting, time.Now(), 0
	d.term = max(s.Term, d.journal.last.Term, 1)
	if d.term > d.journal.last.Term {
		if s.Term > 0 {
			d.mode = modeAlone
		}
		r := record{Kind: kindPromote, Region: d.member.region.Name, Epoch: s.Epoch, Term: d.term}
		if _, err := d.journal.append(r.stamp()); err != nil {
			return fmt.Errorf("beginning term %d: %w", d.term, err)
		}
	}
	if err := d.journal.sync(); err != nil {
		d.accepts = false
		return fmt.Errorf("beginning term %d: %w", d.term, err)
	}
	d.durable = d.journal.last.Seq
	d.accepts = true
	d.advance()
	return nil
}

// at reads one record.
func (j *journal) at(seq int64) (record, error) {
	r := record{}
	line, _, err := j.lines(seq-1, seq, 0)
	if err != nil {
		return r, fmt.Errorf("reading record %d: %w", seq, err)
	}
	if err := json.Unmarshal(line[chainLen:], &r); err != nil {
		return r, fmt.Errorf("reading record %d: %w", seq, err)
	}
	return r, nil
}

// describe implements service.
func (d *database) describe(_ context.Context, s *Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Term, s.Last, s.Chain = max(d.term, d.journal.last.Term), d.journal.last.Seq, string(d.journal.chain[:])
	s.Accepts = d.accepts
	switch s.Role {
	case Active:
		s.Mode, s.Healthy = d.mode, d.accepts
		if !d.accepts {
			s.Message = "it is active but cannot take writes"
		}
	case Standby:
		if d.follower != nil {
			d.follower.describe(s, d.journal.size, d.member.config.grace(), time.Now())
		}
	case Fenced, Stopped:
	}
}

// isFull says whether there is no room for another record.
func isFull(err error) bool {
	return errors.Is(err, errFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
