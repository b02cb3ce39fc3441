package rest

import (
	"encoding/base64"
	"encoding/json"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// PageParams are the query parameters of every list; an input embeds it.
type PageParams struct {
	Limit int    `query:"limit" minimum:"0" doc:"the most items to return; 0 means 100, more than 1000 means 1000"`
	After string `query:"after" maxLength:"1024" doc:"the next of the page before"`
}

// Request gives what the stores take.
func (p PageParams) Request() omni.PageRequest {
	return omni.PageRequest{Limit: p.Limit, After: p.After}
}

// TenantParam names the tenant that a request is about; an input embeds it, and Tenant or TenantOrAll reads it.
type TenantParam struct {
	Tenant string `query:"tenant" maxLength:"63" doc:"the tenant; may be left out with a tenant's own key"`
}

// ListOutput answers with a page.
type ListOutput[T any] struct {
	Body omni.Page[T]
}

// List makes a ListOutput; a page without items is written as [].
func List[T any](page omni.Page[T]) *ListOutput[T] {
	if page.Items == nil {
		page.Items = []T{}
	}
	return &ListOutput[T]{Body: page}
}

// ItemOutput answers with one object, and its version when it has one.
type ItemOutput[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// Item makes an ItemOutput without a version.
func Item[T any](v T) *ItemOutput[T] { return &ItemOutput[T]{Body: v} }

// Empty answers without a body, with 204.
type Empty struct{}

// Cursor packs the sort keys of a page's last item into an opaque text.
func Cursor(parts ...string) string {
	raw, err := json.Marshal(parts)
	if err != nil { // strings always marshal
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ParseCursor unpacks what Cursor packed. "" gives nil; anything else that does not hold n parts is CodeInvalid.
func ParseCursor(after string, n int) ([]string, error) {
	if after == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(after)
	var parts []string
	if err == nil {
		err = json.Unmarshal(raw, &parts)
	}
	if err != nil || len(parts) != n {
		return nil, omni.Errorf(omni.CodeInvalid, "after: is not a cursor of this list").
			WithFields(omni.FieldError{Path: "after", Message: "must be the next of the page before, unchanged"}).
			WithHint("start over without after")
	}
	return parts, nil
}
