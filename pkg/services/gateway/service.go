package gateway

import (
	"context"
)

// The states of a service.
const (
	StatusOK       = "ok"
	StatusDegraded = "degraded" // it answers, and something that it needs does not
	StatusStopped  = "stopped"
	StatusAbsent   = "absent" // this server does not run it
)

// Service is one of the fifteen as this server sees it.
type Service struct {
	Name          string  `json:"name"`
	Status        string  `json:"status" enum:"ok,degraded,stopped,absent"`
	Leader        string  `json:"leader,omitempty" doc:"the replica that leads it; empty when it has no leader"`
	Version       string  `json:"version,omitempty"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Message       string  `json:"message,omitempty" doc:"why it is not ok"`
}

// Lister tells of the services that run; those of the fifteen that it leaves out are absent.
type Lister func(ctx context.Context) ([]Service, error)

// Names lists the fifteen in the order in which they are shown.
func Names() []string {
	return []string{
		"gateway", "auth", "tenants", "compute", "network", "storage", "dns", "loadbalancer",
		"secrets", "config", "deploy", "monitor", "billing", "audit", "compliance",
	}
}

// Services gives the fifteen.
func (g *Gateway) Services(ctx context.Context) ([]Service, error) {
	known := map[string]Service{}
	if g.opts.Services != nil {
		running, err := g.opts.Services(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range running {
			known[s.Name] = s
		}
	}
	out := make([]Service, 0, len(Names()))
	for _, name := range Names() {
		s, ok := known[name]
		if !ok {
			s = Service{Name: name, Status: StatusAbsent}
		}
		out = append(out, s)
	}
	return out, nil
}
