package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of the server. What comes beyond them is dropped, or waits in the kernel.
const (
	maxInFlight   = 4096 // queries
	maxTCP        = 512  // connections
	maxTCPQueries = 128  // queries a connection
	tcpRead       = 2 * time.Second
	tcpIdle       = 8 * time.Second
	shutdownWait  = 3 * time.Second
)

// server answers on one address, over UDP and TCP, from the catalog that is current when a query comes.
type server struct {
	catalog *atomic.Pointer[catalog]
	logger  *slog.Logger
	slots   chan struct{}
	addr    string
	parts   []*dns.Server
	running sync.WaitGroup
}

// listen opens both sockets. Port 0 takes one that is free for both.
func listen(ctx context.Context, addr string, current *atomic.Pointer[catalog], logger *slog.Logger) (*server, error) {
	tcp, udp, err := sockets(ctx, addr)
	if err != nil {
		return nil, omni.Errorf(omni.CodeUnavailable, "dns: cannot listen on %s: %v", addr, err).WithCause(err).
			WithHint("choose another address with --dns-listen, or stop what uses this one")
	}
	s := &server{catalog: current, logger: logger, slots: make(chan struct{}, maxInFlight), addr: tcp.Addr().String()}
	s.parts = []*dns.Server{
		{PacketConn: udp, Handler: s, UDPSize: dns.MaxMsgSize},
		{
			Listener: netutil.LimitListener(tcp, maxTCP), Handler: s, MaxTCPQueries: maxTCPQueries,
			ReadTimeout: tcpRead, WriteTimeout: tcpRead, IdleTimeout: func() time.Duration { return tcpIdle },
		},
	}
	started := make(chan struct{}, len(s.parts))
	for _, part := range s.parts {
		part.NotifyStartedFunc = func() { started <- struct{}{} }
		s.running.Go(func() {
			if err := part.ActivateAndServe(); err != nil {
				logger.ErrorContext(ctx, "the dns server stopped", "addr", s.addr, "error", err)
			}
		})
	}
	for range s.parts {
		<-started
	}
	return s, nil
}

// sockets opens TCP first, since a port that is free there is mostly free for UDP too, and tries again when it is not.
func sockets(ctx context.Context, addr string) (tcp net.Listener, udp net.PacketConn, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	var lc net.ListenConfig
	for range 16 {
		if tcp, err = lc.Listen(ctx, "tcp", addr); err != nil {
			return nil, nil, err
		}
		same := addr
		if bound, ok := tcp.Addr().(*net.TCPAddr); ok {
			same = net.JoinHostPort(host, strconv.Itoa(bound.Port))
		}
		if udp, err = lc.ListenPacket(ctx, "udp", same); err == nil {
			return tcp, udp, nil
		}
		err = errors.Join(err, tcp.Close())
		if port != "0" {
			break
		}
	}
	return nil, nil, err
}

// ServeDNS answers one query. A fault of ours costs one answer, not the process.
func (s *server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return // the asker tries again
	}
	defer func() {
		if fault := recover(); fault != nil {
			s.logger.Error("a dns query met a fault", "fault", fmt.Sprint(fault))
		}
	}()
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	if err := w.WriteMsg(s.catalog.Load().answer(query, udp)); err != nil {
		s.logger.Debug("a dns answer was not sent", "error", err)
	}
}

// close ends the server, and waits until it has ended.
func (s *server) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
	defer cancel()
	var err error
	for _, part := range s.parts {
		err = errors.Join(err, part.ShutdownContext(ctx))
	}
	s.running.Wait()
	return err
}
