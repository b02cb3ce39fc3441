package shop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// The stream between two databases is a connection to the control port that asks for an upgrade, then lines of at most
// maxLine bytes each way. The standby says where its journal ends; the active one asks for chain values until it knows how far both are
// the same; then it sends lines of its journal as they stand in the file, with a message in between each beat, and the standby answers
// with the sequence number up to which its disk has everything.
const (
	upgradeTo = "shop-replication"
	beat      = 100 * time.Millisecond
	sendLimit = 256 << 10 // bytes at a time
)

// message is a line that is not a record.
type message struct {
	// From the standby.
	Last  int64  `json:"last,omitempty"`
	Chain string `json:"chain,omitempty"`
	Ack   *int64 `json:"ack,omitempty"`

	// From the active one.
	Ask   *int64 `json:"ask,omitempty"`   // for the chain value behind that record
	Start *int64 `json:"start,omitempty"` // records follow from behind that one, which both have
	Error string `json:"error,omitempty"`

	// From both.
	Term  int64 `json:"term,omitempty"`
	Epoch int64 `json:"epoch,omitempty"`

	// In each beat.
	Beat   bool  `json:"beat,omitempty"`
	Synced bool  `json:"synced,omitempty"` // nothing was or will be acknowledged that the standby lacks
	Bytes  int64 `json:"bytes,omitempty"`  // of the journal
}

// lineConn reads and writes lines within deadlines.
type lineConn struct {
	conn  net.Conn
	in    *bufio.Reader
	limit time.Duration
}

// newLineConn takes over a connection; what in has read already is kept.
func newLineConn(conn net.Conn, in *bufio.Reader, limit time.Duration) *lineConn {
	return &lineConn{conn: conn, in: bufio.NewReaderSize(in, 64<<10), limit: limit}
}

func (c *lineConn) readLine() ([]byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return nil, err
	}
	line, err := c.in.ReadSlice('\n')
	if err == nil && len(line) > maxLine {
		err = errTooLarge
	}
	return line, err
}

func (c *lineConn) readMessage() (message, error) {
	m := message{}
	line, err := c.readLine()
	if err != nil {
		return m, err
	}
	err = decodeStrict(bytes.NewReader(line), maxLine, &m)
	if err == nil && m.Error != "" {
		err = fmt.Errorf("the other database says: %.200s", m.Error)
	}
	return m, err
}

func (c *lineConn) write(data []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return err
	}
	_, err := c.conn.Write(data)
	return err
}

func (c *lineConn) writeMessage(m message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.write(append(data, '\n'))
}

// stream is the active database's side of the connection to its standby.
type stream struct {
	*lineConn
	sent int64
}

// drop ends the connection; both loops of it then end by themselves.
func (s *stream) drop() { _ = s.conn.Close() }

// withReplication adds the stream to the control port's handler.
func (d *database) withReplication(control http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", control)
	mux.HandleFunc("GET /replicate", func(w http.ResponseWriter, r *http.Request) {
		role := d.member.now().Role
		hijacker, ok := w.(http.Hijacker)
		if !ok || r.Header.Get("Upgrade") != upgradeTo || role == Standby {
			refuse(w, http.StatusConflict, codeRefused, fmt.Errorf("the database of %s is %s and has nothing to follow", d.member.region.Name, role))
			return
		}
		conn, buf, err := hijacker.Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		s := &stream{lineConn: newLineConn(conn, buf.Reader, d.member.config.grace())}
		if err := d.replicate(s); err != nil {
			d.member.log.InfoContext(r.Context(), "the standby's stream has ended", "error", err.Error())
		}
	})
	return mux
}

// replicate serves one standby until either side ends.
func (d *database) replicate(s *stream) error {
	if err := s.write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgradeTo + "\r\n\r\n")); err != nil {
		return err
	}
	hello, err := s.readMessage()
	if err != nil {
		return err
	}
	d.mu.Lock()
	term, epoch := d.term, d.epoch
	d.mu.Unlock()
	if hello.Term > term {
		return errors.Join(errStaleEpoch, s.writeMessage(message{Error: fmt.Sprintf("the standby knows term %d, this database only %d", hello.Term, term)}))
	}
	common, err := d.common(s, hello)
	if err != nil {
		return err
	}
	if err := s.writeMessage(message{Start: &common, Term: term, Epoch: epoch}); err != nil {
		return err
	}
	s.sent = common
	d.attach(s, common)
	defer d.detach(s)
	ended := make(chan error, 1)
	go func() { ended <- d.hear(s) }()
	err = d.send(s, ended)
	s.drop()
	return err
}

// common finds how far the two journals are the same, in a dozen questions at most: chain values are the same up to there and
// differ behind.
func (d *database) common(s *stream, hello message) (int64, error) {
	d.mu.Lock()
	low, high := int64(0), min(hello.Last, d.durable)
	d.mu.Unlock()
	if hello.Last < 0 {
		return 0, errors.New("the standby's last record has a negative number")
	}
	for probe := high; low < high; probe = low + (high-low+1)/2 {
		if err := s.writeMessage(message{Ask: &probe}); err != nil {
			return 0, err
		}
		m, err := s.readMessage()
		if err != nil {
			return 0, err
		}
		d.mu.Lock()
		own, err := d.journal.chainAt(probe)
		d.mu.Unlock()
		switch {
		case err != nil:
			return 0, err
		case string(own[:]) == m.Chain:
			low = probe
		default:
			high = probe - 1
		}
	}
	return low, nil
}

// attach makes s the standby's stream, instead of an earlier one.
func (d *database) attach(s *stream, has int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stream != nil {
		d.stream.drop()
	}
	d.stream, d.acked, d.heard = s, has, time.Now()
	d.member.log.Info("a standby follows", "from", has, "last", d.journal.last.Seq)
	d.joining()
	d.advance()
}

// joining lets orders wait for a standby that is near enough. The caller holds mu.
func (d *database) joining() {
	if (d.mode == modeAlone || d.mode == modeWaiting) && d.durable-d.acked <= joinWithin {
		d.mode = modeJoining
	}
}

// detach notes that the stream has ended. Orders wait for the standby to come back, for the grace.
func (d *database) detach(s *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stream != s {
		return
	}
	d.stream = nil
	if d.mode != modeAlone {
		d.mode = modeWaiting
	}
	d.notify()
}

// hear takes the standby's answers.
func (d *database) hear(s *stream) error {
	for {
		m, err := s.readMessage()
		if err != nil {
			return err
		}
		d.mu.Lock()
		if d.stream != s {
			d.mu.Unlock()
			return errors.New("another stream has taken its place")
		}
		if m.Ack == nil || *m.Ack < d.acked || *m.Ack > d.durable {
			d.mu.Unlock()
			return errors.New("an answer that cannot be")
		}
		d.acked, d.heard = *m.Ack, time.Now()
		d.joining()
		d.advance()
		d.mu.Unlock()
	}
}

// send sends records as they become durable here, and a beat now and then.
func (d *database) send(s *stream, ended <-chan error) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		d.mu.Lock()
		changed := d.changed
		due := message{Beat: true, Synced: d.mode == modeSynced && d.stream == s, Term: d.term, Epoch: d.epoch, Last: d.durable, Bytes: d.journal.size}
		lines, to, err := d.journal.lines(s.sent, d.durable, sendLimit)
		d.mu.Unlock()
		if err != nil {
			return err
		}
		if len(lines) > 0 {
			s.sent = to
			if err := s.write(lines); err != nil {
				return err
			}
			continue
		}
		select {
		case err := <-ended:
			return err
		case <-changed:
			continue
		case <-tick.C:
		}
		if err := s.writeMessage(due); err != nil {
			return err
		}
	}
}
