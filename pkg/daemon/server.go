package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry"
	"github.com/omnicloud/omnicloud/pkg/services/gateway"
)

// makeAPI joins the routes of all services behind the gateway.
func (d *daemon) makeAPI() (*rest.API, error) {
	api := rest.New(rest.Options{
		Title: "OmniCloud", Version: d.opts.Version, Authenticator: d.auth, Idempotency: d.dbs.infra, Logger: d.log,
		Metrics: telemetry.NewHTTP(d.registry), Tracer: d.traces, Now: time.Now,
	})
	trusted := make([]netip.Prefix, len(d.config.TrustedProxies))
	for i, network := range d.config.TrustedProxies {
		trusted[i] = netip.MustParsePrefix(network) // Config.check has parsed it
	}
	limit := gateway.Limit{PerSecond: d.config.RatePerSecond, Burst: d.config.RateBurst}
	d.gateway = gateway.New(gateway.Options{
		Trusted: trusted, PerAddress: limit, PerKey: limit, Checks: d.checks(), Services: d.services, Logger: d.log, Now: time.Now,
	})
	for _, part := range []interface{ Routes(api *rest.API) }{
		d.gateway, d.auth, d.tenants, d.failover, d.dns, d.monitor, d.billing, d.audit, d.manifest,
	} {
		part.Routes(api)
	}
	infra.Routes(api, d.dbs.infra, d.infra)
	rest.Stream(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/events", ID: "stream-events", Summary: "Stream events as they happen",
		Tag: "events", Permission: "events.read",
	}, d.stream)
	return api, api.Check()
}

// stream sends the feed, from where the reader left off.
func (d *daemon) stream(ctx context.Context, in *rest.StreamInput, send func(id, event string, data any) error) error {
	tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
	if err != nil {
		return err
	}
	after, err := in.After()
	if err != nil {
		return err
	}
	auditor := rest.Allowed(omni.RequestFrom(ctx).Identity, "audit.read")
	for item, err := range d.feed.Subscribe(ctx, events.FeedFilter{Tenant: tenant, Topics: in.Topics}, after) {
		if err != nil {
			return err
		}
		// Who may not read the log may not read it as it is written either.
		if !auditor && item.Event.Type == events.AuditType {
			continue
		}
		if err := send(fmt.Sprint(item.Seq), item.Event.Type, item.Event); err != nil {
			return err
		}
	}
	return nil
}

// checks are what a ready replica passes: its dependencies, and that events do not wait for long.
func (d *daemon) checks() []gateway.Check {
	return append(d.dependencies(), gateway.Check{Name: "relay lag", Func: d.relayLag})
}

// dependencies are those without which this replica can do nothing.
func (d *daemon) dependencies() []gateway.Check {
	var checks []gateway.Check
	for _, db := range d.dbs.all() {
		checks = append(checks, gateway.Check{Name: "database " + string(db.Name()), Func: db.Ping})
	}
	return append(checks,
		gateway.Check{Name: "etcd", Func: d.elector.Ping},
		gateway.Check{Name: "leader", Func: func(ctx context.Context) error {
			if name, _, err := d.elector.Leader(ctx); err != nil || name == "" {
				return omni.Errorf(omni.CodeUnavailable, "no replica leads at the moment")
			}
			return nil
		}},
	)
}

// maxRelayLag is how old an event may be before the replica says that it is not well.
const maxRelayLag = time.Minute

func (d *daemon) relayLag(ctx context.Context) error {
	for _, relay := range d.relays {
		pending, oldest, err := relay.Lag(ctx)
		if err != nil {
			return err
		}
		if oldest > maxRelayLag {
			return omni.Errorf(omni.CodeUnavailable, "%d events wait for their consumers, the oldest for %s", pending, oldest.Round(time.Second))
		}
	}
	return nil
}

// services tells of the services that this version has.
func (d *daemon) services(ctx context.Context) ([]gateway.Service, error) {
	leader, _, err := d.elector.Leader(ctx)
	if err != nil {
		leader = "" // etcd is checked by readyz; the list is still worth having
	}
	var list []gateway.Service
	for _, name := range []string{"gateway", "auth", "tenants", "dns", "config", "monitor", "billing", "audit"} {
		list = append(list, gateway.Service{
			Name: name, Status: gateway.StatusOK, Leader: leader, Version: d.opts.Version, UptimeSeconds: time.Since(d.started).Seconds(),
		})
	}
	return list, nil
}

// untilReady waits until every dependency answers. Events that wait since long are no reason not to start: whoever cannot take them
// must not keep tenants in a dead region.
func (d *daemon) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(readyEvery)
	defer ticker.Stop()
	var last error
	for {
		err := d.check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // a check cut off by the end of the time says less than the one before
			last = err
		}
		select {
		case failed := <-d.life.failed:
			return failed
		case <-ctx.Done():
			return omni.Errorf(omni.CodeUnavailable, "not ready after %s: %w", readyTimeout, last)
		case <-ticker.C:
		}
	}
}

const (
	readyTimeout = time.Minute
	readyEvery   = 20 * time.Millisecond
)

func (d *daemon) check(ctx context.Context) error {
	for _, check := range d.dependencies() {
		if err := check.Func(ctx); err != nil {
			return fmt.Errorf("%s: %w", check.Name, err)
		}
	}
	return nil
}

// tls gives how the gateway speaks TLS; nil without a certificate.
func (d *daemon) tls() (*tls.Config, error) {
	c := d.config
	if c.TLSCert == "" {
		return nil, nil //nolint:nilnil // no TLS is a valid answer
	}
	if err := d.certificate.load(c); err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: d.certificate.get}
	if c.TLSClientCA != "" {
		pem, err := os.ReadFile(c.TLSClientCA)
		if err != nil {
			return nil, omni.Errorf(omni.CodeInvalid, "tls-client-ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, omni.Errorf(omni.CodeInvalid, "tls-client-ca: %s holds no certificate", c.TLSClientCA)
		}
		out.ClientCAs, out.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return out, nil
}

// notifySystemd tells systemd what it waits for (sd_notify(3)); without it, nothing is done.
func notifySystemd(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:]
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).Dial("unixgram", socket)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer func() { _ = conn.Close() }() // the message is out, or its error is told
	_, err = conn.Write([]byte(state))
	return err
}
