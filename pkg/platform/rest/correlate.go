package rest

import (
	"net/http"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

const maxRequestID = 128

// Correlate gives each request its id and its trace: those that came with it when they are well formed, a new id otherwise.
// They travel in the context (omni.RequestFrom) and in the answer. A request that has an id in its context passes as it is, so
// that the wrapper may stand both in front of a gateway and inside an API.
func Correlate(now func() time.Time, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := omni.RequestFrom(r.Context())
		if req.ID != "" {
			next.ServeHTTP(w, r)
			return
		}
		correlation := r.Header.Get("X-Correlation-ID")
		if !wellFormedID(correlation) {
			correlation = ""
		}
		req.ID = r.Header.Get("X-Request-ID")
		if !wellFormedID(req.ID) {
			req.ID = correlation
		}
		if req.ID == "" {
			req.ID = omni.NewID("req", now())
		}
		if t := r.Header.Get("Traceparent"); WellFormedTraceParent(t) {
			req.TraceParent = t
		}
		w.Header().Set("X-Request-ID", req.ID)
		if correlation != "" {
			w.Header().Set("X-Correlation-ID", correlation)
		}
		next.ServeHTTP(w, r.WithContext(omni.WithRequest(r.Context(), req)))
	})
}

func wellFormedID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// WellFormedTraceParent says whether header is a traceparent of W3C Trace Context: version, trace id, parent id and flags, in
// lower-case hex; ids of zeros and version ff are refused, and later versions may carry more behind a dash.
func WellFormedTraceParent(header string) bool {
	const length = len("00-") + 32 + len("-") + 16 + len("-00")
	if len(header) < length || len(header) > maxRequestID {
		return false
	}
	if header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return false
	}
	version, trace, parent, flags := header[:2], header[3:35], header[36:52], header[53:55]
	for _, part := range []string{version, trace, parent, flags} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	if version == "ff" || strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return false
	}
	if len(header) == length {
		return true
	}
	return version != "00" && header[length] == '-'
}
