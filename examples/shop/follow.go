package shop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// follower is a standby's side of the stream: it keeps asking the other database until it is stopped.
type follower struct {
	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	contact  contact
	bytes    int64 // of the active database's journal, as it said last; -1 when it never did
	lastFail string
}

// contact is what a standby knows of its being up to date. The active database acknowledges nothing without the standby until it
// has not heard it for the grace; so a standby that was synced still is, as long as it was in touch less than half a grace ago. When the
// active one's address refuses connections, nobody runs there: if that is seen again and again with less than half a grace in
// between, nobody can have gone on alone meanwhile.
type contact struct {
	synced bool
	touch  time.Time // when it was last in touch, or saw that nobody runs there
	sure   time.Time // when it last knew that it had everything; at first, when its last record was made
}

func (c *contact) fresh(now time.Time, grace time.Duration) bool {
	return c.synced && now.Sub(c.touch) < grace/2
}

// heard notes a beat.
func (c *contact) heard(now time.Time, synced bool) {
	c.synced, c.touch = synced, now
	if synced {
		c.sure = now
	}
}

// refused notes that nobody runs at the active database's address.
func (c *contact) refused(now time.Time, grace time.Duration) {
	if !c.fresh(now, grace) {
		c.synced = false
		return
	}
	c.touch, c.sure = now, now
}

// lag is how long ago this standby had everything for sure, 0 when it still has.
func (c *contact) lag(now time.Time, grace time.Duration) time.Duration {
	if c.fresh(now, grace) {
		return 0
	}
	return now.Sub(c.sure)
}

func (d *database) startFollowing(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.follower != nil {
		return
	}
	// The follower outlives the request that has started it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &follower{stop: cancel, done: make(chan struct{}), bytes: -1}
	if last := d.journal.last; last.Seq > 0 {
		f.contact.sure = time.Unix(0, last.Wall)
	}
	d.follower = f
	go func() {
		defer close(f.done)
		d.following(ctx, f)
	}()
}

// stopFollowing returns when nothing more is written to the journal by the follower.
func (d *database) stopFollowing() {
	d.mu.Lock()
	f := d.follower
	d.follower = nil
	d.mu.Unlock()
	if f != nil {
		f.stop()
		<-f.done
	}
}

// describe adds what a standby knows of its lag. One that never was in touch is as old as its last record.
func (f *follower) describe(s *Status, size int64, grace time.Duration, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Message = f.lastFail
	if f.contact.sure.IsZero() {
		s.Healthy = false // it has no records, and nobody has told it that there are none
		return
	}
	lag := max(0, f.contact.lag(now, grace).Seconds())
	s.LagSeconds = &lag
	if f.bytes >= 0 {
		behind := max(0, f.bytes-size)
		s.LagBytes = &behind
	}
}

func (d *database) following(ctx context.Context, f *follower) {
	peer := d.member.config.peer(d.member.region.Name)
	for {
		err := d.follow(ctx, f, peer)
		f.failed(err, d.member.config.grace())
		if pause(ctx, beat) != nil {
			return
		}
	}
}

// failed keeps why a connection was not made, or ended.
func (f *follower) failed(err error, grace time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, syscall.ECONNREFUSED) {
		f.contact.refused(time.Now(), grace)
	}
	if err != nil {
		f.lastFail = fmt.Sprintf("it does not follow: %.300s", err.Error())
	}
}

// follow connects once, and follows until the connection ends.
func (d *database) follow(ctx context.Context, f *follower, peer Region) error {
	grace := d.member.config.grace()
	conn, err := (&net.Dialer{Timeout: grace / 4}).DialContext(ctx, "tcp", peer.control(DB))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(grace)); err != nil {
		return err
	}
	in, err := d.upgrade(ctx, conn, peer)
	if err != nil {
		return err
	}
	c := newLineConn(conn, in, grace)
	start, err := d.introduce(c)
	if err != nil {
		return err
	}
	if err := d.cutTo(start); err != nil {
		return err
	}
	return d.take(ctx, c, f)
}

// upgrade asks for the stream.
func (d *database) upgrade(ctx context.Context, conn net.Conn, peer Region) (*bufio.Reader, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+peer.control(DB)+"/replicate", nil) //nolint:gosec // the address is of the shop's own configuration
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.member.config.Secret)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", upgradeTo)
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return in, nil
	}
	no := refusal{}
	if err := decodeStrict(resp.Body, maxAnswer, &no); err != nil {
		return nil, fmt.Errorf("the database of %s answers %d", peer.Name, resp.StatusCode)
	}
	return nil, no.err()
}

// introduce says where this journal ends, and answers questions until it is told from where on records follow.
func (d *database) introduce(c *lineConn) (message, error) {
	d.mu.Lock()
	last := d.journal.last
	d.mu.Unlock()
	if err := c.writeMessage(message{Last: last.Seq, Term: last.Term}); err != nil {
		return message{}, err
	}
	for range 2 * 64 {
		m, err := c.readMessage()
		switch {
		case err != nil:
			return m, err
		case m.Start != nil && m.Term < last.Term:
			return m, fmt.Errorf("%w: the other database is in term %d, and this one has records of term %d", errStaleEpoch, m.Term, last.Term)
		case m.Start != nil && (*m.Start < 0 || *m.Start > last.Seq):
			return m, errors.New("records cannot start there")
		case m.Start != nil && *m.Start < last.Seq && m.Term == last.Term:
			return m, fmt.Errorf("the journals differ behind record %d, both in term %d: a human must look", *m.Start, m.Term)
		case m.Start != nil:
			return m, nil
		case m.Ask == nil:
			return m, errors.New("neither a question nor a start")
		}
		d.mu.Lock()
		chain, err := d.journal.chainAt(*m.Ask)
		d.mu.Unlock()
		if err != nil {
			return m, err
		}
		if err := c.writeMessage(message{Chain: string(chain[:])}); err != nil {
			return m, err
		}
	}
	return message{}, errors.New("too many questions")
}

// cutTo puts aside the records that the active database does not have. None of them was acknowledged, unless
// the other one was promoted by force while it was behind.
func (d *database) cutTo(start message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	lost := d.journal.last.Seq - *start.Start
	d.cuts++
	aside, err := d.journal.truncate(*start.Start)
	if err != nil {
		return err
	}
	if aside != "" {
		d.member.log.Warn("records that the active database does not have were put aside", "records", lost, "file", aside)
	}
	d.durable, d.commit = d.journal.last.Seq, min(d.commit, d.journal.last.Seq)
	d.notify()
	return nil
}

// take writes what comes into the journal, makes it durable, all that has come at a time, and says so.
func (d *database) take(ctx context.Context, c *lineConn, f *follower) error {
	d.mu.Lock()
	ack := d.journal.last.Seq
	d.mu.Unlock()
	for {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		if line[0] == '{' {
			if err := f.beat(line); err != nil {
				return err
			}
		} else if err := d.appendLine(ctx, line); err != nil {
			return fmt.Errorf("writing what the active database has sent: %w", err)
		}
		if c.in.Buffered() > 0 {
			continue // there is more to make durable together
		}
		d.mu.Lock()
		last, file := d.journal.last.Seq, d.journal.file
		d.mu.Unlock()
		if last > ack {
			if err := file.Sync(); err != nil {
				d.fail(fmt.Errorf("making the journal durable: %w", err))
				return err
			}
			d.mu.Lock()
			d.durable = last
			d.notify()
			d.mu.Unlock()
			ack = last
		}
		if err := c.writeMessage(message{Ack: &ack}); err != nil {
			return err
		}
	}
}

func (d *database) appendLine(ctx context.Context, line []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.journal.appendLine(line)
}

// beat takes a message in between records.
func (f *follower) beat(line []byte) error {
	m := message{}
	if err := decodeStrict(bytes.NewReader(line), maxLine, &m); err != nil {
		return err
	}
	if !m.Beat {
		return errors.New("a message that does not belong here")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contact.heard(time.Now(), m.Synced)
	f.bytes, f.lastFail = m.Bytes, ""
	return nil
}
