package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// NewLogger writes JSON lines to w (standard error, for omnid). A line that is logged with a context carries its request_id,
// actor and trace_id. level may change while it runs (slog.LevelVar).
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(requestHandler{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: plain})})
}

// plain writes durations as people read them, and the level in lower case.
func plain(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	if len(groups) == 0 && a.Key == slog.LevelKey {
		return slog.String(a.Key, strings.ToLower(a.Value.String()))
	}
	return a
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(text string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[strings.ToLower(text)]
	if !ok {
		return 0, omni.Errorf(omni.CodeInvalid, "log level: %q is not one", text).
			WithHint("use debug, info, warn or error")
	}
	return level, nil
}

// requestHandler adds what the context knows of the request.
type requestHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h requestHandler) Handle(ctx context.Context, r slog.Record) error {
	req := omni.RequestFrom(ctx)
	if req.ID != "" {
		r.AddAttrs(slog.String("request_id", req.ID))
	}
	if req.Identity.Actor != "" {
		r.AddAttrs(slog.String("actor", req.Identity.Actor))
	}
	if parts := strings.SplitN(req.TraceParent, "-", 3); len(parts) == 3 {
		r.AddAttrs(slog.String("trace_id", parts[1]))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}
