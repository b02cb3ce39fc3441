package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"
	"reflect"
	"sync/atomic"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// certificate is the gateway's, which a reload may swap under open connections.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
}

func (c *certificate) load(config Config) error {
	pair, err := tls.LoadX509KeyPair(config.TLSCert, config.TLSKey)
	if err != nil {
		return omni.Errorf(omni.CodeInvalid, "tls-cert and tls-key: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// get implements tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// reload takes over what may change live: the log level, and the certificate from its files. A configuration that is not valid
// changes nothing; other changes are named, and wait for a restart.
func (d *daemon) reload(ctx context.Context) {
	next, err := d.opts.Reread()
	if err == nil && next.TLSCert != "" && d.config.TLSCert != "" {
		err = d.certificate.load(next)
	}
	var level slog.Level
	if err == nil {
		err = level.UnmarshalText([]byte(next.LogLevel))
	}
	if err != nil {
		d.log.ErrorContext(ctx, "the configuration was not reloaded: everything stays as it was", slog.String("error", err.Error()))
		return
	}
	d.opts.Level.Set(level)
	waiting := changed(d.config, next, "LogLevel", "TLSCert", "TLSKey", "ReplicaName")
	d.log.InfoContext(ctx, "configuration reloaded", slog.String("log_level", next.LogLevel), slog.Any("after_a_restart", waiting))
}

// changed names the fields that differ between two configurations, but for those that live ones are allowed to.
func changed(from, to Config, live ...string) []string {
	names := []string{}
	a, b := reflect.ValueOf(from), reflect.ValueOf(to)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		allowed := false
		for _, l := range live {
			allowed = allowed || l == name
		}
		if !allowed && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}
