package config

import (
	"context"
	"net/http"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// maxBody is that of a request with manifests: JSON may write a byte of them as six.
const maxBody = 2*maxBytes + 1<<20

type filesBody struct {
	Files []File `json:"files" doc:"the manifests"`
}

type filesInput struct {
	Body filesBody
}

type applyInput struct {
	DryRun bool `query:"dry_run" doc:"only say what would be done"`
	Body   filesBody
}

type kindInput struct {
	Kind string `path:"kind" doc:"a kind's name or plural"`
	Path string `query:"path" doc:"a field, such as spec.placements.role"`
}

// Routes declares the service's routes.
func (s *Service) Routes(api *rest.API) {
	const manifests, tag = "/api/v1/manifests/", "manifests"
	post := func(verb, summary string) rest.Route {
		return rest.Route{
			Method: http.MethodPost, Path: manifests + verb, ID: verb + "-manifests", Summary: summary, Tag: tag,
			Permission: "manifests.apply", Status: http.StatusOK, MaxBody: maxBody,
		}
	}
	rest.Handle(api, post("apply", "Make everything as the manifests say, or nothing"),
		func(ctx context.Context, in *applyInput) (*rest.ItemOutput[Result], error) {
			if in.DryRun {
				return s.over(ctx, in.Body.Files, s.Plan)
			}
			return s.over(ctx, in.Body.Files, s.Apply)
		})
	rest.Handle(api, post("diff", "Say which fields an apply would change"),
		func(ctx context.Context, in *filesInput) (*rest.ItemOutput[Result], error) {
			return s.over(ctx, in.Body.Files, s.Diff)
		})
	rest.Handle(api, post("validate", "Check manifests without applying them"),
		func(ctx context.Context, in *filesInput) (*rest.ItemOutput[Result], error) {
			return s.over(ctx, in.Body.Files, s.Validate)
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/kinds", ID: "list-kinds", Summary: "List the kinds of manifests", Tag: tag, Permission: rest.Authenticated},
		func(context.Context, *struct{}) (*rest.ListOutput[KindInfo], error) {
			page := omni.Page[KindInfo]{Items: []KindInfo{}}
			for _, k := range s.Kinds() {
				page.Items = append(page.Items, k.info())
			}
			return rest.List(page), nil
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/kinds/{kind}", ID: "explain-kind", Summary: "Explain a kind's fields", Tag: tag, Permission: rest.Authenticated},
		func(_ context.Context, in *kindInput) (*rest.ItemOutput[Explanation], error) {
			out, err := s.Explain(in.Kind, in.Path)
			if err != nil {
				return nil, err
			}
			return rest.Item(out), nil
		})
}

// over reads files and does something with them.
func (s *Service) over(ctx context.Context, files []File, do func(context.Context, Manifests) (Result, error)) (*rest.ItemOutput[Result], error) {
	m, err := s.Parse(files)
	if err != nil {
		return nil, err
	}
	result, err := do(ctx, m)
	if err != nil {
		return nil, err
	}
	return rest.Item(result), nil
}
