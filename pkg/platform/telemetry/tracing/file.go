package tracing

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// fileExporter appends spans to a file, one JSON object a line.
type fileExporter struct {
	mu   sync.Mutex
	file *os.File
}

// line is how a span stands in the file.
type line struct {
	TraceID    string            `json:"trace_id"`
	SpanID     string            `json:"span_id"`
	ParentID   string            `json:"parent_id,omitempty"`
	Name       string            `json:"name"`
	Start      time.Time         `json:"start"`
	DurationMS float64           `json:"duration_ms"`
	Error      string            `json:"error,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

func openFile(path string) (*fileExporter, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("open the file of traces: %w", err)
	}
	return &fileExporter{file: file}, nil
}

// ExportSpans implements sdk.SpanExporter.
func (e *fileExporter) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	enc := json.NewEncoder(e.file)
	for _, s := range spans {
		l := line{
			TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(), Name: s.Name(),
			Start: s.StartTime().UTC(), DurationMS: float64(s.EndTime().Sub(s.StartTime()).Microseconds()) / 1000,
			Attributes: map[string]string{},
		}
		if s.Parent().IsValid() {
			l.ParentID = s.Parent().SpanID().String()
		}
		if s.Status().Code == codes.Error {
			l.Error = s.Status().Description
		}
		for _, a := range s.Attributes() {
			l.Attributes[string(a.Key)] = a.Value.String()
		}
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("write a span: %w", err)
		}
	}
	return nil
}

// Shutdown implements sdk.SpanExporter.
func (e *fileExporter) Shutdown(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.file.Close()
}
