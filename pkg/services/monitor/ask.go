package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// Bounds of what is read from, and kept of, a target.
const (
	maxBody  = 64 << 10
	maxError = 300
)

// askers makes the questions of probes.
type askers struct {
	transport *http.Transport
	dialer    *net.Dialer
	runner    *provider.Runner
	path      string // the PATH of programs
}

func newAskers(path string, programs int) *askers {
	dialer := &net.Dialer{KeepAlive: -1}
	return &askers{
		dialer: dialer,
		runner: provider.NewRunner(programs),
		path:   path,
		// One connection a probe at most, since it asks one question at a time; each is kept for its next one. No proxy: a probe asks the
		// target itself. Buffers are small, since there may be thousands.
		transport: &http.Transport{
			DialContext:            dialer.DialContext,
			MaxIdleConns:           maxProbes,
			MaxIdleConnsPerHost:    maxProbes,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 32 << 10,
			DisableCompression:     true,
			ReadBufferSize:         2 << 10,
			WriteBufferSize:        1 << 10,
		},
	}
}

func (a *askers) close() { a.transport.CloseIdleConnections() }

// of makes the question of p. A definition that cannot be asked becomes a question that always fails and says why.
func (a *askers) of(p *probe) ask {
	switch p.def.Type {
	case infra.ProbeHTTP:
		return a.http(p)
	case infra.ProbeTCP:
		return a.tcp(p)
	case infra.ProbeExec:
		return a.exec(p)
	case infra.ProbeHeartbeat:
		return nil
	}
	return always(fmt.Errorf("the probe's type %q is not known", provider.Shorten(string(p.def.Type), 32)))
}

func always(err error) ask { return func(context.Context) error { return err } }

// http asks for a URL. The status decides, as soon as it is there; redirects are not followed.
func (a *askers) http(p *probe) ask {
	template, err := http.NewRequest(http.MethodGet, p.def.Target, nil) //nolint:noctx // each question gets its own context
	if err != nil || template.URL.Host == "" {
		return always(errors.New("the target is not a URL"))
	}
	template.Header.Set("User-Agent", "omnicloud-probe")
	template.Header.Set("Accept", "*/*")
	if user := template.URL.User; user != nil {
		password, _ := user.Password()
		template.SetBasicAuth(user.Username(), password)
	}
	want := p.def.Status
	return func(ctx context.Context) error {
		resp, err := a.transport.RoundTrip(template.WithContext(ctx))
		if err != nil {
			return err
		}
		_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // so that the connection can be used again; the status is what counts
		_ = resp.Body.Close()
		if resp.StatusCode == want || want == 0 && resp.StatusCode/100 == 2 {
			return nil
		}
		return fmt.Errorf("status %d", resp.StatusCode)
	}
}

// tcp asks whether the target takes a connection.
func (a *askers) tcp(p *probe) ask {
	return func(ctx context.Context) error {
		conn, err := a.dialer.DialContext(ctx, "tcp", p.def.Target)
		if err != nil {
			return err
		}
		_ = conn.Close() // it was there, which is all that was asked
		return nil
	}
}

// exec asks a program, which sees PATH and which probe it is for, and nothing else of omnid.
func (a *askers) exec(p *probe) ask {
	if len(p.def.Command) == 0 {
		return always(errors.New("the probe has no command"))
	}
	program := provider.Program{
		Argv: p.def.Command, Timeout: p.timeout,
		Env: []string{"PATH=" + a.path, "OMNI_REGION=" + p.key.region, "OMNI_ZONE=" + p.key.zone, "OMNI_PROBE=" + p.key.probe},
	}
	return func(ctx context.Context) error {
		exit, err := a.runner.Run(ctx, program)
		switch {
		case err != nil:
			return err
		case exit.TimedOut:
			return context.DeadlineExceeded
		case exit.Signal != 0:
			return fmt.Errorf("killed by a signal (%s)", exit.Signal)
		case exit.Code != 0 && exit.Text != "":
			return fmt.Errorf("exit code %d: %s", exit.Code, exit.Text)
		case exit.Code != 0:
			return fmt.Errorf("exit code %d", exit.Code)
		}
		return nil
	}
}

// explain turns an ask's error into the text that an observation keeps.
func explain(p *probe, err error) string {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout()) {
		return "no answer within " + omni.Duration(p.timeout).String()
	}
	return provider.Shorten(provider.Clean(err.Error()), maxError)
}
