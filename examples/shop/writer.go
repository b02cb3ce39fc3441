package shop

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"
)

// HostName is the name that the manifests' zone gives the shop.
const HostName = "shop.acme.test"

// Bounds of the writer.
const (
	attemptWait = 3 * time.Second       // for one answer
	retryPause  = 50 * time.Millisecond // after a failure
	maxTTL      = time.Minute
)

// AcksFile is where the writer of a shop in dir notes what was acknowledged.
func AcksFile(dir string) string { return filepath.Join(dir, "acks.jsonl") }

// RegionDir is where a region of a shop in dir keeps everything.
func RegionDir(dir, region string) string { return filepath.Join(dir, region) }

// WriterOptions say where and how often to write.
type WriterOptions struct {
	DNS     string        // HOST:PORT of a server that is asked for Name
	Name    string        // default HostName
	Address string        // an IP address to use instead of asking
	Every   time.Duration // from one order to the next, when all is well; 1ms to 1m, default 20ms
	Acks    string        // the file to which each acknowledged order is appended, one JSON object a line
	OnAck   func(Ack)     // may be nil; called for each, after it was noted
	OnFail  func(error)   // may be nil; called for each failed attempt
}

// Ack is one acknowledged order.
type Ack struct {
	Receipt
	Address   string    `json:"address"` // where it was posted
	At        time.Time `json:"at"`
	Attempts  int       `json:"attempts"`
	LatencyMS float64   `json:"latency_ms"` // since the first attempt
}

// WriterReport sums up what a writer did.
type WriterReport struct {
	Acknowledged int64 `json:"acknowledged"`
	Failures     int64 `json:"failed_attempts"`
	Lookups      int64 `json:"lookups"`
}

// writer posts one order after the other. An order is posted again, under the same id, until it is acknowledged.
type writer struct {
	o       WriterOptions
	http    *http.Client
	prefix  string
	acks    *os.File
	address string    // what the name last meant
	until   time.Time // how long that may be believed
	report  WriterReport
}

// Write posts orders until ctx ends, which is no error.
func Write(ctx context.Context, o WriterOptions) (WriterReport, error) {
	o.Name = orDefault(o.Name, HostName)
	if o.Every == 0 {
		o.Every = 20 * time.Millisecond
	}
	if o.Every < time.Millisecond || o.Every > time.Minute {
		return WriterReport{}, errors.New("the time between orders must be from 1ms to 1m")
	}
	if _, err := netip.ParseAddr(o.Address); (o.DNS == "") == (err != nil) {
		return WriterReport{}, errors.New("give either a DNS server (HOST:PORT) or an IP address")
	}
	acks, err := os.OpenFile(o.Acks, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return WriterReport{}, fmt.Errorf("opening the list of acknowledged orders: %w", err)
	}
	w := &writer{o: o, acks: acks, prefix: rand.Text()[:10], http: &http.Client{Transport: newTransport(false), Timeout: attemptWait}}
	err = w.run(ctx)
	w.http.CloseIdleConnections()
	return w.report, errors.Join(err, acks.Close())
}

func (w *writer) run(ctx context.Context) error {
	tick := time.NewTicker(w.o.Every)
	defer tick.Stop()
	for n := 1; ; n++ {
		ack, err := w.deliver(ctx, Order{ID: fmt.Sprintf("%s-%07d", w.prefix, n), Item: fmt.Sprintf("item %d", n)})
		if err != nil {
			return nil // ctx has ended
		}
		line, err := json.Marshal(ack)
		if err == nil {
			_, err = w.acks.Write(append(line, '\n'))
		}
		if err != nil {
			return fmt.Errorf("noting an acknowledged order: %w", err)
		}
		w.report.Acknowledged++
		if w.o.OnAck != nil {
			w.o.OnAck(ack)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// deliver posts an order until it is acknowledged. The error is that of ctx.
func (w *writer) deliver(ctx context.Context, o Order) (Ack, error) {
	began := time.Now()
	for attempt := 1; ; attempt++ {
		receipt, err := w.post(ctx, o)
		if err == nil {
			took := float64(time.Since(began).Microseconds()) / 1000
			return Ack{Receipt: receipt, Address: w.address, At: time.Now().UTC(), Attempts: attempt, LatencyMS: took}, nil
		}
		if ctx.Err() != nil {
			return Ack{}, ctx.Err()
		}
		w.report.Failures++
		w.until = time.Time{} // ask again where the shop is
		if w.o.OnFail != nil {
			w.o.OnFail(err)
		}
		if err := pause(ctx, retryPause); err != nil {
			return Ack{}, err
		}
	}
}

func (w *writer) post(ctx context.Context, o Order) (Receipt, error) {
	r := Receipt{}
	if err := w.resolve(ctx); err != nil {
		return r, err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return r, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+hostPort(w.address, LBPort)+"/orders", bytes.NewReader(body))
	if err != nil {
		return r, err
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return r, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		no := refusal{}
		if err := decodeStrict(resp.Body, maxAnswer, &no); err != nil {
			return r, fmt.Errorf("the shop answered %s", resp.Status)
		}
		return r, no.err()
	}
	if err := decodeStrict(resp.Body, maxAnswer, &r); err != nil {
		return r, err
	}
	if r.ID != o.ID {
		return r, fmt.Errorf("the shop acknowledged %q instead of %q", r.ID, o.ID)
	}
	return r, nil
}

// resolve asks where the shop is, when what it knows is older than the answer's TTL, or has failed.
func (w *writer) resolve(ctx context.Context) error {
	if w.o.Address != "" {
		w.address = w.o.Address
		return nil
	}
	if time.Now().Before(w.until) {
		return nil
	}
	w.report.Lookups++
	address, ttl, err := lookup(ctx, w.o.DNS, w.o.Name)
	if err != nil {
		return err
	}
	if address != w.address {
		w.http.CloseIdleConnections()
	}
	w.address, w.until = address, time.Now().Add(min(ttl, maxTTL))
	return nil
}

// lookup asks one server for the first A record of name, over UDP, and over TCP when the answer does not fit.
func lookup(ctx context.Context, server, name string) (string, time.Duration, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network, Timeout: 500 * time.Millisecond}
		in, _, err := client.ExchangeContext(ctx, q, server)
		if err != nil {
			return "", 0, fmt.Errorf("asking %s for %s: %w", server, name, err)
		}
		if in.Truncated {
			continue
		}
		for _, rr := range in.Answer {
			if a, ok := rr.(*dns.A); ok {
				return a.A.String(), time.Duration(a.Hdr.Ttl) * time.Second, nil
			}
		}
		return "", 0, fmt.Errorf("%s has no address for %s: %s", server, name, dns.RcodeToString[in.Rcode])
	}
	return "", 0, fmt.Errorf("%s does not give the address of %s whole", server, name)
}
