package daemon

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry/tracing"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// tracedDrivers puts a span around each call to a driver, below that of the run which makes it.
type tracedDrivers struct {
	drivers *provider.Registry
	traces  *tracing.Provider
}

// Driver gives the driver with this name.
func (t tracedDrivers) Driver(name string) (provider.Driver, error) {
	driver, err := t.drivers.Driver(name)
	if err != nil {
		return nil, err
	}
	return tracedDriver{Driver: driver, name: name, traces: t.traces}, nil
}

type tracedDriver struct {
	provider.Driver
	name   string
	traces *tracing.Provider
}

// Check implements provider.Driver.
func (d tracedDriver) Check(ctx context.Context, c provider.Call) (state provider.State, err error) {
	ctx, end := d.start(ctx, c, provider.Check)
	defer func() { end(err) }()
	return d.Driver.Check(ctx, c)
}

// Do implements provider.Driver.
func (d tracedDriver) Do(ctx context.Context, c provider.Call) (err error) {
	ctx, end := d.start(ctx, c, c.Action)
	defer func() { end(err) }()
	return d.Driver.Do(ctx, c)
}

func (d tracedDriver) start(ctx context.Context, c provider.Call, action provider.Action) (context.Context, func(error)) {
	request := omni.RequestFrom(ctx)
	ctx, parent, end := d.traces.Start(ctx, "driver "+d.name+" "+string(action), request.TraceParent)
	request.TraceParent = parent
	ctx = omni.WithRequest(ctx, request)
	tracing.Attribute(ctx, "omni.tenant", c.Target.Tenant)
	tracing.Attribute(ctx, "omni.resource", c.Target.Resource)
	tracing.Attribute(ctx, "omni.region", c.Target.Region)
	tracing.Attribute(ctx, "omni.run", c.Run)
	tracing.Attribute(ctx, "omni.step", c.Step)
	return ctx, end
}
