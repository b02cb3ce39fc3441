package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/election"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry/tracing"
	"github.com/omnicloud/omnicloud/pkg/provider"
	"github.com/omnicloud/omnicloud/pkg/provider/exec"
	httpdriver "github.com/omnicloud/omnicloud/pkg/provider/http"
	"github.com/omnicloud/omnicloud/pkg/provider/sim"
	"github.com/omnicloud/omnicloud/pkg/services/audit"
	"github.com/omnicloud/omnicloud/pkg/services/auth"
	"github.com/omnicloud/omnicloud/pkg/services/billing"
	"github.com/omnicloud/omnicloud/pkg/services/config"
	"github.com/omnicloud/omnicloud/pkg/services/dns"
	"github.com/omnicloud/omnicloud/pkg/services/gateway"
	"github.com/omnicloud/omnicloud/pkg/services/monitor"
	"github.com/omnicloud/omnicloud/pkg/services/tenants"
)

// Options say what Run runs with.
type Options struct {
	Config  Config
	Version string
	Out     io.Writer // the ready line
	Err     io.Writer // the log
	Level   *slog.LevelVar
	// Reload asks for the configuration to be read again by Reread; nil never does.
	Reload <-chan os.Signal
	Reread func() (Config, error)
	// Failpoint is called at named points, for tests that kill the process there; nil for none.
	Failpoint func(name string)
}

// daemon holds the parts of one omnid.
type daemon struct {
	opts     Options
	config   Config
	log      *slog.Logger
	life     *lifecycle
	started  time.Time
	registry *prometheus.Registry
	traces   *tracing.Provider
	dbs      databases

	elector  *election.Elector
	drivers  *provider.Registry
	infra    *infra.Store
	tenants  *tenants.Service
	auth     *auth.Service
	audit    *audit.Service
	billing  *billing.Service
	dns      *dns.Service
	monitor  *monitor.Service
	failover *failover.Service
	manifest *config.Service
	feed     *events.Feed
	relays   []*events.Relay
	relayed  *telemetry.Relay
	gateway  *gateway.Gateway

	listener net.Listener // of the gateway
	metrics  net.Listener

	certificate certificate // of the gateway, when it speaks TLS
}

// Run runs omnid until ctx ends, then stops it in good order. It returns nil when everything ended well.
func Run(ctx context.Context, o Options) (err error) {
	log := telemetry.NewLogger(o.Err, o.Level)
	d := &daemon{opts: o, config: o.Config, log: log, life: newLifecycle(log, o.Config.DrainTimeout), started: time.Now()}
	defer func() {
		begun := time.Now()
		err = errors.Join(err, d.life.stop())
		log.InfoContext(context.WithoutCancel(ctx), "stopped", slog.Duration("took", time.Since(begun)))
	}()
	for _, part := range []func(context.Context) error{
		d.openData, d.openTelemetry, d.openListeners, d.openDatabases, d.openElection,
		d.makeDomain, d.makeServices, d.makeRelays, d.startWatching, d.startLeading, d.startServing,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if err := d.sayReady(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			log.InfoContext(ctx, "stopping")
			return nil
		case err := <-d.life.failed:
			return err
		case <-o.Reload:
			d.reload(ctx)
		}
	}
}

func (d *daemon) openData(context.Context) error {
	unlock, err := openDataDir(d.config.DataDir)
	if err != nil {
		return err
	}
	d.life.onStop("data directory", unlock)
	if err := os.MkdirAll(d.config.KeyDir, 0o700); err != nil {
		return omni.Errorf(omni.CodeUnavailable, "key directory %s cannot be made: %w", d.config.KeyDir, err)
	}
	if d.config.ReplicaName == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "omnid"
		}
		d.config.ReplicaName = host + "-" + omni.NewID("r", d.started)[15:]
	}
	return nil
}

func (d *daemon) openTelemetry(ctx context.Context) error {
	d.registry = telemetry.NewRegistry(d.opts.Version)
	traces, err := tracing.Open(ctx, tracing.Options{
		Service: "omnid", Version: d.opts.Version, Instance: d.config.ReplicaName, Endpoint: d.config.TraceEndpoint, File: d.config.TraceFile,
	})
	if err != nil {
		return err
	}
	d.life.onStop("traces", traces.Close)
	d.traces = traces
	return nil
}

// openListeners takes the ports before anything is changed, so that a taken one leaves nothing behind.
func (d *daemon) openListeners(ctx context.Context) (err error) {
	var lc net.ListenConfig
	open := func(key, address string) (net.Listener, error) {
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, omni.Errorf(omni.CodeUnavailable, "%s: cannot listen on %s: %w", key, address, err).
				WithHint("another program may use the port: choose another with --%s, or 0 for a free one", key)
		}
		d.life.closing(key, func() error { // who serves closes it too
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		return l, nil
	}
	if d.listener, err = open("listen", d.config.Listen); err != nil {
		return err
	}
	if d.metrics, err = open("metrics-listen", d.config.MetricsListen); err != nil {
		return err
	}
	// The DNS service takes its own ports, once the zones are there; a taken one is told now.
	l, err := lc.Listen(ctx, "tcp", d.config.DNSListen)
	if err != nil {
		return omni.Errorf(omni.CodeUnavailable, "dns-listen: cannot listen on %s: %w", d.config.DNSListen, err).
			WithHint("another program may use the port: choose another with --dns-listen, or 0 for a free one")
	}
	return l.Close()
}

func (d *daemon) openDatabases(ctx context.Context) (err error) {
	if d.dbs, err = openDatabases(ctx, d.config); err != nil {
		return err
	}
	metrics := telemetry.NewDatabase(d.registry)
	for _, db := range d.dbs.all() {
		name := string(db.Name())
		d.life.closing("database "+name, db.Close)
		db.Observe(func(mode string, err error, retries int, took time.Duration) {
			metrics.Transaction(name, mode, err, retries, took)
		})
	}
	return nil
}

func (d *daemon) openElection(ctx context.Context) (err error) {
	d.elector, err = election.Open(ctx, election.Options{
		Endpoints: d.config.EtcdEndpoints, DataDir: d.config.DataDir, Name: d.config.ReplicaName,
		TTL: d.config.LeaseTTL, DB: d.dbs.infra, Now: time.Now, Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.life.closing("election", d.elector.Close)
	return nil
}

// makeDomain makes what the services stand on: drivers, the infrastructure's store.
func (d *daemon) makeDomain(context.Context) error {
	web := httpdriver.New(httpdriver.Options{})
	d.life.closing("http driver", func() error { web.Close(); return nil })
	d.drivers = provider.NewRegistry(map[string]provider.Driver{
		"exec": exec.New(exec.Options{Path: os.Getenv("PATH")}),
		"http": web,
		"sim":  sim.New(sim.Options{Seed: uint64(d.started.UnixNano())}),
	})
	d.infra = infra.NewStore(infra.Options{Drivers: d.drivers, Busy: d.busy})
	return nil
}

// makeServices makes the services, each from what it needs.
func (d *daemon) makeServices(ctx context.Context) (err error) {
	own := &ownership{db: d.dbs.infra, daemon: d}
	d.tenants = tenants.New(tenants.Options{DB: d.dbs.tenants, Owned: own, Remover: own, Keys: keysOf{d}})
	pepper, err := auth.LoadPepper(filepath.Join(d.config.KeyDir, "auth.pepper"))
	if err != nil {
		return err
	}
	d.auth = auth.New(auth.Options{DB: d.dbs.tenants, Pepper: pepper, Tenants: d.tenants, Logger: d.log, Now: time.Now})
	if err := d.auth.EnsureAdmin(ctx, filepath.Join(d.config.KeyDir, "admin.token")); err != nil {
		return err
	}
	d.life.loop("keys", d.auth.Run) // notes when keys were used
	if d.audit, err = audit.New(audit.Options{DB: d.dbs.audit, DataDir: d.config.KeyDir}); err != nil {
		return err
	}
	d.billing = billing.New(billing.Options{DB: d.dbs.billing, Now: time.Now})
	d.dns = dns.New(dns.Options{DB: d.dbs.infra, Listen: d.config.DNSListen, Active: d.activeAddress, Now: time.Now, Logger: d.log})
	if err := d.dns.Start(ctx); err != nil {
		return err
	}
	d.life.closing("dns", d.dns.Close)
	d.monitor = monitor.New(monitor.Options{
		DB: d.dbs.infra, Observer: d.config.ReplicaName, Path: os.Getenv("PATH"), Logger: d.log,
		Metrics: probeMetrics{telemetry.NewProbes(d.registry)}, Now: time.Now,
	})
	if err := d.makeFailover(); err != nil {
		return err
	}
	d.manifest = config.New(config.Options{
		Databases: []*database.DB{d.dbs.tenants, d.dbs.infra}, Kinds: d.kinds(), Tenants: d.tenants,
	})
	return nil
}

// makeRelays makes a relay for each database, which hands its events to everybody who must know.
func (d *daemon) makeRelays(context.Context) error {
	d.feed = events.NewFeed(d.dbs.infra, events.FeedOptions{Logger: d.log})
	consumers := []events.Consumer{d.audit.Consumer(), d.billing.Consumer(), d.feed.Consumer()}
	metrics := telemetry.NewRelay(d.registry)
	d.relayed = metrics
	for _, db := range d.dbs.all() {
		name := string(db.Name())
		d.relays = append(d.relays, events.NewRelay(db, consumers, events.RelayOptions{
			Logger: d.log, Failpoint: d.opts.Failpoint,
			Observe: func(consumer string, delivered, failed int) {
				metrics.Delivered(name, consumer, delivered)
				for range failed {
					metrics.Failed(name, consumer)
				}
			},
		}))
	}
	return nil
}

// startWatching probes the regions, on each replica: whoever leads next has seen them too.
func (d *daemon) startWatching(context.Context) error {
	d.life.loop("monitor", func(ctx context.Context) error { return d.monitor.Run(ctx, d.allRegions) })
	return nil
}

// startLeading campaigns, and does the leader's work while this replica leads.
func (d *daemon) startLeading(context.Context) error {
	leader := telemetry.NewLeadership(d.registry)
	d.life.loop("election", func(ctx context.Context) error {
		return d.elector.Run(ctx, func(ctx context.Context, epoch int64) error {
			d.log.InfoContext(ctx, "leading", slog.Int64("epoch", epoch))
			leader.Began(epoch)
			defer leader.Ended()
			return d.lead(ctx, epoch)
		})
	})
	return nil
}

// lead does the leader's work: it relays events, judges regions, and drives runs. It ends when leadership does.
func (d *daemon) lead(ctx context.Context, epoch int64) error {
	works := []func(context.Context) error{
		func(ctx context.Context) error { return d.failover.Lead(ctx, epoch) },
		d.measureRelays,
	}
	for _, relay := range d.relays {
		works = append(works, relay.Run)
	}
	return together(ctx, works...)
}

// measureEvery is how often the backlog of the relays is measured.
const measureEvery = 5 * time.Second

// measureRelays says in the metrics what waits in each outbox.
func (d *daemon) measureRelays(ctx context.Context) error {
	ticker := time.NewTicker(measureEvery)
	defer ticker.Stop()
	for {
		for i, relay := range d.relays {
			if pending, oldest, err := relay.Lag(ctx); err == nil { // a database that does not answer is readyz's to tell
				d.relayed.Lag(string(d.dbs.all()[i].Name()), pending, oldest)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// together runs all of works until ctx ends or one of them fails; then the others end too.
func together(ctx context.Context, works ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(works))
	for _, work := range works {
		go func() { results <- work(ctx) }()
	}
	var errs []error
	for range works {
		if err := <-results; err != nil && ctx.Err() == nil {
			errs = append(errs, err)
			cancel()
		}
	}
	return errors.Join(errs...)
}

// startServing opens the front door.
func (d *daemon) startServing(ctx context.Context) error {
	api, err := d.makeAPI()
	if err != nil {
		return err
	}
	tls, err := d.tls()
	if err != nil {
		return err
	}
	d.life.loop("metrics", func(ctx context.Context) error {
		return rest.Serve(ctx, d.metrics, gateway.Metrics(d.registry), rest.ServeOptions{Drain: time.Second, Logger: d.log})
	})
	d.life.loop("gateway", func(ctx context.Context) error {
		return rest.Serve(ctx, d.listener, d.gateway.Wrap(api.Handler()), rest.ServeOptions{
			Drain: d.config.DrainTimeout, Unready: d.gateway.Drain, TLS: tls, Logger: d.log,
		})
	})
	d.gateway.Ready()
	return ctx.Err()
}

// sayReady waits until every dependency answers, then tells stdout and systemd.
func (d *daemon) sayReady(ctx context.Context) error {
	if err := d.untilReady(ctx); err != nil {
		return err
	}
	line, err := json.Marshal(struct {
		Msg     string `json:"msg"`
		Listen  string `json:"listen"`
		DNS     string `json:"dns"`
		Metrics string `json:"metrics"`
		DataDir string `json:"data_dir"`
		Version string `json:"version"`
	}{"ready", d.listener.Addr().String(), d.dns.Addr(), d.metrics.Addr().String(), d.config.DataDir, d.opts.Version})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(d.opts.Out, "%s\n", line); err != nil {
		return fmt.Errorf("say that omnid is ready: %w", err)
	}
	d.log.InfoContext(ctx, "ready", slog.Duration("took", time.Since(d.started)))
	return notifySystemd("READY=1")
}
