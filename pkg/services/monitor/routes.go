package monitor

import (
	"context"
	"net/http"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type listInput struct {
	rest.PageParams
	Region string `query:"region" maxLength:"63" doc:"only the probes of this region"`
}

type heartbeatInput struct {
	Region string `path:"region" maxLength:"63"`
	Zone   string `path:"zone" maxLength:"63"`
	Probe  string `path:"probe" maxLength:"63"`
}

// Routes adds the routes of probes.
func (s *Service) Routes(api *rest.API) {
	const tag = "probes"
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/probes", ID: "list-probes",
		Summary: "List the probes with what each observer makes of them", Tag: tag, Permission: "probes.read",
	}, func(ctx context.Context, in *listInput) (*rest.ListOutput[State], error) {
		page, err := s.Probes(ctx, in.Region, in.Request())
		if err != nil {
			return nil, err
		}
		return rest.List(page), nil
	})
	rest.Handle(api, rest.Route{
		Method: http.MethodPost, Path: "/api/v1/probes/{region}/{zone}/{probe}/heartbeat", ID: "report-heartbeat",
		Summary: "Give a heartbeat probe a sign of life", Tag: tag, Permission: "probes.report", Status: http.StatusNoContent,
	}, func(ctx context.Context, in *heartbeatInput) (*rest.Empty, error) {
		return &rest.Empty{}, s.Heartbeat(ctx, in.Region, in.Zone, in.Probe)
	})
}

// Probes lists what this replica and all others make of the probes of a region, "" for all: in the order of region, zone,
// probe and observer.
func (s *Service) Probes(ctx context.Context, region string, page omni.PageRequest) (omni.Page[State], error) {
	after, err := rest.ParseCursor(page.After, 4)
	if err != nil {
		return omni.Page[State]{}, err
	}
	list := s.states(region)
	if s.store != nil {
		others, err := s.store.others(ctx, region)
		if err != nil {
			return omni.Page[State]{}, err
		}
		list = append(list, s.known(others)...)
	}
	slices.SortFunc(list, func(a, b State) int { return slices.Compare(a.cursor(), b.cursor()) })
	if after != nil {
		from, found := slices.BinarySearchFunc(list, after, func(s State, at []string) int { return slices.Compare(s.cursor(), at) })
		if found {
			from++
		}
		list = list[from:]
	}
	out := omni.Page[State]{Items: list}
	if size := page.Size(); len(list) > size {
		out.Items = list[:size]
		out.Next = rest.Cursor(out.Items[size-1].cursor()...)
	}
	return out, nil
}

func (s State) cursor() []string { return []string{s.Region, s.Zone, s.Probe, s.Observer} }

// known completes what other observers have stored by the probes' definitions, and drops what is no probe any more.
func (s *Service) known(list []State) []State {
	s.mu.RLock()
	defer s.mu.RUnlock()
	kept := list[:0]
	for _, state := range list {
		if p := s.probes[key{state.Region, state.Zone, state.Probe}]; p != nil {
			state.Type, state.Target = p.def.Type, p.shown
			kept = append(kept, state)
		}
	}
	return kept
}
