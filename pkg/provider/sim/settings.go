package sim

import (
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/omnicloud/omnicloud/pkg/provider"
)

// Limits of durations in the config.
const (
	DefaultTimeout = 30 * time.Second
	maxLatency     = time.Hour
)

// settings is what a placement's config says.
type settings struct {
	role        string
	latency     time.Duration
	jitter      time.Duration
	timeout     time.Duration
	failRate    float64
	failFirst   int
	failActions []string
	failMessage string
	hangActions []string
	unsupported []string
	unhealthy   bool
	lagSeconds  *float64
	lagBytes    *int64
}

func read(config map[string]any) (settings, *provider.Settings) {
	s := provider.ReadSettings(config)
	if len(config) == 0 {
		return settings{timeout: DefaultTimeout}, s
	}
	out := settings{
		role:        s.Text("role"),
		latency:     s.Duration("latency", 0, 0, maxLatency),
		jitter:      s.Duration("latencyJitter", 0, 0, maxLatency),
		timeout:     s.Duration("timeout", DefaultTimeout, time.Millisecond, maxLatency),
		failRate:    s.Number("failRate", 0, 0, 1),
		failFirst:   int(s.Number("failFirst", 0, 0, 1000)),
		failActions: actions(s, "failActions"),
		failMessage: s.Text("failMessage"),
		hangActions: actions(s, "hangActions"),
		unsupported: actions(s, "unsupportedActions"),
		unhealthy:   s.Flag("unhealthy"),
	}
	switch out.role {
	case "", provider.RoleActive, provider.RoleStandby, provider.RoleStopped, provider.RoleFenced:
	default:
		s.Fault("role", "must be active, standby, stopped or fenced")
	}
	if out.failMessage == "" {
		out.failMessage = "failActions says so"
	}
	if seconds := s.Number("lagSeconds", 0, 0, 1e9); s.Has("lagSeconds") {
		out.lagSeconds = &seconds
	}
	if size := s.Number("lagBytes", 0, 0, math.MaxInt32*1024.0); s.Has("lagBytes") {
		whole := int64(size)
		out.lagBytes = &whole
	}
	return out, s
}

// actions reads a list of actions.
func actions(s *provider.Settings, name string) []string {
	list := s.Texts(name)
	for i, action := range list {
		switch provider.Action(action) {
		case provider.Check, provider.Promote, provider.Demote, provider.Fence, provider.Start, provider.Stop:
		default:
			s.Fault(name+"["+strconv.Itoa(i)+"]", "must be check, promote, demote, fence, start or stop")
		}
	}
	return list
}

// chance gives the source of randomness of one attempt of one call.
func (d *Driver) chance(c provider.Call, attempt int) *rand.Rand {
	h := fnv.New64a()
	for _, part := range []string{c.Target.Tenant, c.Target.Resource, c.Target.Region, string(c.Action), c.Run, c.Step, strconv.Itoa(attempt)} {
		_, _ = io.WriteString(h, part+"\x00") // a hash takes everything
	}
	return rand.New(rand.NewPCG(d.seed, h.Sum64())) //nolint:gosec // repeatable chance, not a secret
}
