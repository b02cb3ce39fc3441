package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Options say where spans go. Without Endpoint and File they are made, so that ids travel, and dropped.
type Options struct {
	Service  string           // name of this program; omnid
	Version  string           // of this program
	Instance string           // of this replica
	Endpoint string           // URL of an OTLP/HTTP collector, such as http://localhost:4318
	File     string           // JSON lines, appended
	Exporter sdk.SpanExporter // instead of either; tests
}

// Provider makes spans. It is safe for concurrent use.
type Provider struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	carrier  propagation.TraceContext
}

// Open makes a provider. An endpoint that does not answer is no error: spans are dropped until it does.
func Open(ctx context.Context, opts Options) (*Provider, error) {
	options := []sdk.TracerProviderOption{
		sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample())),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", opts.Service),
			attribute.String("service.version", opts.Version),
			attribute.String("service.instance.id", opts.Instance),
		)),
	}
	switch {
	case opts.Exporter != nil:
		options = append(options, sdk.WithSyncer(opts.Exporter))
	case opts.Endpoint != "":
		endpoint, err := endpointURL(opts.Endpoint)
		if err != nil {
			return nil, err
		}
		exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
		if err != nil {
			return nil, fmt.Errorf("open the exporter of traces: %w", err)
		}
		options = append(options, sdk.WithBatcher(exporter))
	case opts.File != "":
		exporter, err := openFile(opts.File)
		if err != nil {
			return nil, err
		}
		options = append(options, sdk.WithBatcher(exporter))
	}
	provider := sdk.NewTracerProvider(options...)
	return &Provider{provider: provider, tracer: provider.Tracer("github.com/omnicloud/omnicloud")}, nil
}

// endpointURL adds the path that OTLP/HTTP has where none is given.
func endpointURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", omni.Errorf(omni.CodeInvalid, "trace endpoint: %q is not a URL", text).WithHint("write it as http://HOST:4318")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// Close sends what is left, for as long as ctx lasts.
func (p *Provider) Close(ctx context.Context) error {
	return errors.Join(p.provider.ForceFlush(ctx), p.provider.Shutdown(ctx))
}

// Start begins a span. Its parent is the span that the traceparent parent names; without one it is that of ctx, and without
// that it begins a trace. The returned context carries the span, also as the TraceParent of its omni.Request, which is the text
// that is returned: store it with work that goes on later, and Start continues from it. end must be called once.
func (p *Provider) Start(ctx context.Context, name, parent string) (child context.Context, traceparent string, end func(error)) {
	req := omni.RequestFrom(ctx)
	if parent == "" && !trace.SpanContextFromContext(ctx).IsValid() {
		parent = req.TraceParent
	}
	if parent != "" {
		ctx = p.carrier.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
	}
	ctx, span := p.tracer.Start(ctx, name)
	out := propagation.MapCarrier{}
	p.carrier.Inject(ctx, out)
	req.TraceParent = out["traceparent"]
	if req.ID != "" {
		span.SetAttributes(attribute.String("omnicloud.request_id", req.ID))
	}
	return omni.WithRequest(ctx, req), req.TraceParent, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, string(omni.CodeOf(err)))
		}
		span.End()
	}
}

// Attribute describes the span of ctx; values are bounded to 200 bytes.
func Attribute(ctx context.Context, key, value string) {
	if len(value) > 200 {
		value = value[:200]
	}
	trace.SpanFromContext(ctx).SetAttributes(attribute.String(key, value))
}
