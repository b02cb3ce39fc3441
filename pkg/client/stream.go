package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// maxEvent is the longest line of a stream, in bytes.
const maxEvent = 4 << 20

// StreamRequest says which events to read: of one tenant ("" is all that the key may see), whose type without "omni." begins with
// one of Topics (none: all), behind the event with the stream id After ("": only new ones; "0": from the oldest that is kept).
type StreamRequest struct {
	Tenant string
	Topics []string
	After  string
}

// Stream calls each for every event until ctx ends or each returns an error, which is returned. A broken connection is taken
// up again behind the last event seen, so that none is lost or seen twice.
func (c *Client) Stream(ctx context.Context, r StreamRequest, each func(id string, e events.Event) error) error {
	after := r.After
	pause := firstPause
	for {
		seen, err := c.stream(ctx, r, after, each)
		if seen != "" {
			after, pause = seen, firstPause
		}
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !omni.Is(err, omni.CodeUnavailable) && !omni.Is(err, omni.CodeLimited):
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(pause*2, maxPause)
	}
}

// stopError carries an error of the caller's function through the reading.
type stopError struct{ err error }

func (s *stopError) Error() string { return s.err.Error() }

func (c *Client) stream(ctx context.Context, r StreamRequest, after string, each func(id string, e events.Event) error) (seen string, err error) {
	headers := map[string]string{"Accept": "text/event-stream"}
	if after != "" {
		headers["Last-Event-ID"] = after
	}
	response, err := c.send(ctx, call{
		method: http.MethodGet, path: "events",
		query: query("tenant", r.Tenant, "topics", strings.Join(r.Topics, ",")),
	}, nil, headers)
	if err != nil {
		return "", c.unreachable(ctx, err)
	}
	defer func() { _ = response.Body.Close() }() // the stream ends here either way
	if response.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(response.Body, maxEvent)) // what could be read is what can be said
		return "", problem(response, data)
	}
	return readStream(response.Body, each)
}

// readStream parses Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func readStream(body io.Reader, each func(id string, e events.Event) error) (seen string, err error) {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var id, kind string
	var data bytes.Buffer
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if data.Len() == 0 {
				continue
			}
			if kind == "error" { // the server's last word on a stream that had begun
				return seen, problem(&http.Response{Status: "an error of the stream"}, data.Bytes())
			}
			var e events.Event
			if err := json.Unmarshal(data.Bytes(), &e); err != nil {
				return seen, omni.Errorf(omni.CodeInternal, "the stream holds something that is no event: %w", err)
			}
			if err := each(id, e); err != nil {
				return seen, &stopError{err}
			}
			seen, kind = id, ""
			data.Reset()
		case name == "id":
			id = value
		case name == "event":
			kind = value
		case name == "data":
			if data.Len() > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
		}
	}
	if err := lines.Err(); err != nil {
		return seen, omni.Errorf(omni.CodeUnavailable, "the stream of events broke off: %w", err)
	}
	return seen, nil
}

// pollShare bounds Poll's part of the server's time: it pauses at least so many times as long as an answer took.
const pollShare = 9

// Poll calls ask every interval until it says that it is done, ctx ends, or it fails with something that waiting does not
// mend. Where answers are slow (a run of thousands of steps), it asks less often.
func Poll(ctx context.Context, interval time.Duration, ask func(context.Context) (done bool, err error)) error {
	for {
		asked := time.Now() //nolint:forbidigo // how long an answer takes is no matter of a clock that a caller could give
		done, err := ask(ctx)
		if done || (err != nil && !omni.Is(err, omni.CodeUnavailable)) {
			return err
		}
		if err := sleep(ctx, max(interval, pollShare*time.Since(asked))); err != nil {
			return err
		}
	}
}
