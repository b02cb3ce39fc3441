package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

const (
	streamBuffer  = 64               // events between a handler and its connection
	maxEvent      = 1 << 20          // bytes
	writeTimeout  = 10 * time.Second // for one event to leave; a slower reader is cut off, and comes back with Last-Event-ID
	keyCheck      = time.Second      // how soon a stream ends after its key was revoked
	eventStream   = "text/event-stream"
	reconnectHint = "retry: 1000\n\n" // milliseconds
)

// StreamInput is what the reader of a stream asks for.
type StreamInput struct {
	Tenant      string   `query:"tenant" doc:"whose events; may be left out with a tenant's own key, and means all with a platform key"`
	Topics      []string `query:"topics" maxItems:"64" doc:"the beginnings of the types wanted, such as failover,audit; none means all"`
	LastEventID string   `header:"Last-Event-ID" maxLength:"64" doc:"the id of the last event seen; what came after it is sent first"`
}

// After gives the sequence number of LastEventID; -1, which asks for new events only, when there is none.
func (in *StreamInput) After() (int64, error) {
	if in.LastEventID == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(in.LastEventID, 10, 64)
	if err != nil || n < 0 {
		return 0, omni.Errorf(omni.CodeInvalid, "Last-Event-ID: is not the id of an event").
			WithFields(omni.FieldError{Path: "Last-Event-ID", Message: "must be the id of an event as it was sent"}).
			WithHint("leave it out to get new events only")
	}
	return n, nil
}

// Send passes one event to the reader: id becomes its Last-Event-ID ("" has none), data is written as JSON. It blocks while the
// reader is slow, and fails once the stream has ended.
type Send = func(id string, event string, data any) error

type streamOutput struct {
	ContentType string `header:"Content-Type"`
	Body        func(huma.Context)
}

// Stream adds a route that sends Server-Sent Events (WHATWG HTML, 9.2) for as long as h runs. h must return when its context ends:
// when the reader leaves or falls behind, its key is revoked, or the server drains. An error of h before its first event is
// answered as any other error; a later one ends the stream with an event named error.
func Stream(api *API, r Route, h func(ctx context.Context, in *StreamInput, send func(id string, event string, data any) error) error) {
	rt := &registered{Route: r, stream: true}
	rt.Status = http.StatusOK
	handle(api, rt, func(_ context.Context, in *StreamInput) (*streamOutput, error) {
		return &streamOutput{ContentType: eventStream, Body: func(hc huma.Context) {
			req, w := humago.Unwrap(hc)
			api.stream(w, req, func(ctx context.Context, send Send) error { return h(ctx, in, send) })
		}}, nil
	})
}

var errStreamEnded = errors.New("the stream has ended")

// stream runs the handler beside the one who writes, so that a heartbeat never waits for an event.
func (a *API) stream(w http.ResponseWriter, r *http.Request, h func(context.Context, Send) error) {
	ctx, cancel := context.WithCancel(r.Context())
	events := make(chan []byte, streamBuffer)
	done := make(chan error, 1)
	go func() {
		done <- a.contained(ctx, func() error {
			return h(ctx, func(id, event string, data any) error {
				frame, err := encodeEvent(id, event, data)
				if err != nil {
					return err
				}
				select {
				case events <- frame:
					return nil
				case <-ctx.Done():
					return errStreamEnded
				}
			})
		})
	}()
	s := &streamWriter{api: a, w: w, r: r, control: http.NewResponseController(w)}
	ended := s.run(ctx, events, done)
	cancel()
	if !ended {
		// The handler must not outlive its request. Nobody but the log is left to be told how it ended.
		if err := <-done; err != nil {
			a.opts.Logger.DebugContext(ctx, "a stream was left by its reader", slog.String("end", err.Error()))
		}
	}
}

// contained turns a panic of the handler into an error: its goroutine is not the one that the outermost handler guards.
func (a *API) contained(ctx context.Context, h func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a.opts.Logger.ErrorContext(ctx, "a stream panicked",
				slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
			err = omni.Errorf(omni.CodeInternal, "a stream panicked")
		}
	}()
	return h()
}

// encodeEvent writes the lines of one event. Neither id nor event may break out of its line.
func encodeEvent(id, event string, data any) ([]byte, error) {
	if strings.ContainsAny(id+event, "\r\n\x00") {
		return nil, omni.Errorf(omni.CodeInternal, "the id or the name of an event has a line break")
	}
	body, err := json.Marshal(data)
	if err != nil {
		return nil, omni.Errorf(omni.CodeInternal, "encode an event: %w", err)
	}
	if len(body) > maxEvent {
		return nil, omni.Errorf(omni.CodeTooLarge, "an event has %d bytes, more than %d", len(body), maxEvent)
	}
	var b bytes.Buffer
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	if event != "" {
		b.WriteString("event: " + event + "\n")
	}
	b.WriteString("data: ")
	b.Write(body) // JSON has no line break of its own
	b.WriteString("\n\n")
	return b.Bytes(), nil
}

// streamWriter is the only one that writes to its connection.
type streamWriter struct {
	api     *API
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	started bool
}

// run writes until the handler ends (true) or the stream has to (false).
func (s *streamWriter) run(ctx context.Context, events <-chan []byte, done <-chan error) bool {
	beat := time.NewTicker(s.api.opts.Heartbeat)
	defer beat.Stop()
	check := time.NewTicker(keyCheck)
	defer check.Stop()
	first := time.NewTimer(100 * time.Millisecond) // an early error still gets its own status; a quiet stream opens soon
	defer first.Stop()
	for {
		var frame []byte
		select {
		case frame = <-events:
		case <-first.C:
		case <-beat.C:
			frame = []byte(": heartbeat\n\n")
		case <-check.C:
			if !s.allowed(ctx) {
				return false
			}
			continue
		case err := <-done:
			s.finish(ctx, events, err)
			return true
		case <-draining(ctx):
			return false
		case <-ctx.Done():
			return false
		}
		if s.write(frame) != nil {
			return false
		}
	}
}

// allowed asks again whether the key is good: it may have been revoked since the stream began.
func (s *streamWriter) allowed(ctx context.Context) bool {
	if s.r.Header.Get("Authorization") == "" { // a public stream
		return true
	}
	_, err := s.api.authenticate(ctx, s.r)
	return !omni.Is(err, omni.CodeUnauthorized) && !omni.Is(err, omni.CodeForbidden)
}

// finish writes what the handler left behind, and how it ended.
func (s *streamWriter) finish(ctx context.Context, events <-chan []byte, err error) {
	for len(events) > 0 {
		if s.write(<-events) != nil {
			return
		}
	}
	if err == nil || errors.Is(err, errStreamEnded) || ctx.Err() != nil {
		if !s.started {
			_ = s.write(nil) // an empty stream is a stream
		}
		return
	}
	p := s.api.problem(ctx, err)
	if !s.started {
		WriteProblem(s.w, s.r, p)
		return
	}
	if frame, err := encodeEvent("", "error", p); err == nil {
		_ = s.write(frame) // it ends here anyway
	}
}

func (s *streamWriter) write(frame []byte) error {
	_ = s.control.SetWriteDeadline(s.api.opts.Now().Add(writeTimeout)) // not every writer has one
	if !s.started {
		s.started = true
		header := s.w.Header()
		header.Set("Content-Type", eventStream)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Accel-Buffering", "no") // nginx must not hold events back
		s.w.WriteHeader(http.StatusOK)
		frame = append([]byte(reconnectHint), frame...)
	}
	if len(frame) == 0 {
		return nil
	}
	if _, err := s.w.Write(frame); err != nil {
		return err
	}
	return s.control.Flush()
}
