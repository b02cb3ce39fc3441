package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// How Confirm asks.
const (
	confirmPause   = 25 * time.Millisecond // between two looks at a server that does not agree yet
	confirmTimeout = 2 * time.Second       // of one question
	confirmAtOnce  = 16                    // questions, over all servers
	confirmNamed   = 8                     // disagreements that an error names
)

// Confirm asks every authoritative server for each of the changes, over UDP (and TCP when the answer is cut), until all answer
// with authority exactly the values wanted, or ctx ends. The error then is CodeUnavailable, and says which server answered what.
// A context without an end is given a minute.
func (s *Service) Confirm(ctx context.Context, changes []infra.RecordChange) error {
	if len(changes) == 0 {
		return nil
	}
	servers, err := s.authorities()
	if err != nil {
		return err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
	}
	wrong := make([]error, len(servers)*len(changes))
	var group errgroup.Group
	group.SetLimit(confirmAtOnce)
	for i, server := range servers {
		for j, change := range changes {
			group.Go(func() error {
				wrong[i*len(changes)+j] = confirmOne(ctx, server, change)
				return nil
			})
		}
	}
	_ = group.Wait() // the errors are in wrong
	wrong = slices.DeleteFunc(wrong, func(err error) bool { return err == nil })
	if len(wrong) == 0 {
		return nil
	}
	named := wrong
	if len(named) > confirmNamed {
		named = append(slices.Clone(named[:confirmNamed]), fmt.Errorf("and %d more", len(wrong)-confirmNamed))
	}
	return omni.Errorf(omni.CodeUnavailable, "dns is not switched on every authoritative server: %s", strings.ReplaceAll(errors.Join(named...).Error(), "\n", "; ")).
		WithCause(errors.Join(wrong...)).WithHint("check that the servers named run and can be reached, then resume")
}

// authorities lists the addresses to ask: our own and those of Options.Servers.
func (s *Service) authorities() ([]string, error) {
	own := s.Addr()
	if own == "" {
		return nil, omni.Errorf(omni.CodeUnavailable, "the dns server is not running")
	}
	host, port, err := net.SplitHostPort(own)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() { // it listens everywhere, loopback included
		own = net.JoinHostPort("localhost", port)
		if ip.To4() != nil {
			own = net.JoinHostPort("127.0.0.1", port)
		}
	}
	return append([]string{own}, s.servers...), nil
}

// confirmOne asks one server for one record set until it agrees.
func confirmOne(ctx context.Context, server string, change infra.RecordChange) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for {
		select {
		case <-ctx.Done():
			if last == nil {
				last = fmt.Errorf("%s was not asked for %s %s: %w", server, change.Name, change.Type, ctx.Err())
			}
			return last
		case <-timer.C:
		}
		err := ask(ctx, server, change)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // an answer cut off by ctx says less than the one before
			last = err
		}
		timer.Reset(confirmPause)
	}
}

// ask asks once; the error says what the server answered instead.
func ask(ctx context.Context, server string, change infra.RecordChange) error {
	query := new(dns.Msg)
	query.SetQuestion(change.Name, dns.StringToType[change.Type])
	query.RecursionDesired = false
	query.SetEdns0(maxUDP, false)
	client := dns.Client{Timeout: confirmTimeout}
	answer, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && answer.Truncated {
		client.Net = "tcp"
		answer, _, err = client.ExchangeContext(ctx, query, server)
	}
	what := fmt.Sprintf("%s, asked for %s %s,", server, change.Name, change.Type)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", what, err)
	}
	if answer.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("%s answers %s", what, dns.RcodeToString[answer.Rcode])
	}
	if !answer.Authoritative {
		return fmt.Errorf("%s answers without authority", what)
	}
	got := answered(answer, change)
	want := slices.Sorted(slices.Values(change.Values))
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s answers [%s] instead of [%s]", what, strings.Join(got, " "), strings.Join(want, " "))
	}
	return nil
}

// answered gives the addresses that an answer holds for the name and type asked, sorted.
func answered(answer *dns.Msg, change infra.RecordChange) []string {
	var got []string
	for _, rr := range answer.Answer {
		if !strings.EqualFold(rr.Header().Name, change.Name) {
			continue
		}
		var ip net.IP
		switch r := rr.(type) {
		case *dns.A:
			if change.Type == "A" {
				ip = r.A
			}
		case *dns.AAAA:
			if change.Type == "AAAA" {
				ip = r.AAAA
			}
		}
		if ip != nil {
			got = append(got, ip.String())
		}
	}
	slices.Sort(got)
	return got
}
