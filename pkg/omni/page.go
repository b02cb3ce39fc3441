package omni

// Bounds of a page, in items.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Page is one page of a list. Next is the cursor of the page after it, "" on the last.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// PageRequest asks for a page: at most Limit items (0 means DefaultPage, more than MaxPage is MaxPage) behind After.
type PageRequest struct {
	Limit int
	After string
}

// Size gives the limit, within its bounds.
func (p PageRequest) Size() int {
	switch {
	case p.Limit <= 0:
		return DefaultPage
	case p.Limit > MaxPage:
		return MaxPage
	}
	return p.Limit
}
