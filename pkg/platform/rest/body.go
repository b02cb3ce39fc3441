package rest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

const mediaJSON = "application/json"

// readBody takes the whole body in, within its bounds of size, time and shape, and puts what it read in its place.
func (a *API) readBody(rt *registered, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	if r.Body == nil || r.Body == http.NoBody || r.Method == http.MethodGet || r.Method == http.MethodHead {
		_ = control.SetReadDeadline(time.Time{}) // not every writer has one; its end would end the handler's context
		return nil, rt.missing(nil)
	}
	limit := a.limit(rt)
	tooLarge := omni.Errorf(omni.CodeTooLarge, "the body is larger than %d bytes, the most that this route takes", limit).
		WithHint("send less at once")
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // the rest is not worth reading
		return nil, tooLarge
	}
	_ = control.SetReadDeadline(a.opts.Now().Add(a.opts.BodyTimeout)) // as above
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	var timeout net.Error
	switch {
	case err == nil:
	case errors.As(err, &over):
		w.Header().Set("Connection", "close") // as above
		return nil, tooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		w.Header().Set("Connection", "close")
		return nil, withStatus(r.Context(), http.StatusRequestTimeout,
			omni.Errorf(omni.CodeInvalid, "the body did not arrive within %s", a.opts.BodyTimeout).WithHint("send it faster"))
	default:
		return nil, omni.Errorf(omni.CodeInvalid, "the body could not be read to its end").WithCause(err)
	}
	_ = control.SetReadDeadline(time.Time{})
	if err := rt.checkBody(r, body); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// missing refuses an empty body where one is needed.
func (rt *registered) missing(body []byte) error {
	if !rt.required || len(body) > 0 {
		return nil
	}
	return omni.Errorf(omni.CodeInvalid, "body: is missing").
		WithFields(omni.FieldError{Path: "body", Message: "is missing"}).
		WithHint("/openapi.json describes the body of %s %s", rt.Method, rt.Path)
}

// checkBody looks at the media type, and at JSON before anything decodes it.
func (rt *registered) checkBody(r *http.Request, body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return rt.missing(nil)
	}
	mediaType := mediaJSON
	if header := r.Header.Get("Content-Type"); header != "" {
		parsed, _, err := mime.ParseMediaType(header)
		if err != nil {
			parsed = header
		}
		mediaType = parsed
	}
	if len(rt.accepts) == 0 {
		if string(bytes.TrimSpace(body)) == "{}" { // what some clients send for nothing
			return nil
		}
		return omni.Errorf(omni.CodeInvalid, "body: %s %s takes none", rt.Method, rt.Path).
			WithFields(omni.FieldError{Path: "body", Message: "must be empty"}).
			WithHint("send the request without a body")
	}
	if !rt.accepts[mediaType] {
		return withStatus(r.Context(), http.StatusUnsupportedMediaType,
			omni.Errorf(omni.CodeInvalid, "Content-Type: %s is not taken here", shorten(mediaType, 100)).
				WithFields(omni.FieldError{Path: "Content-Type", Message: "must be a media type that this route takes"}).
				WithHint("send JSON, with Content-Type: application/json"))
	}
	r.Header.Set("Content-Type", mediaType)
	if mediaType == mediaJSON {
		return CheckJSON(body)
	}
	return nil
}
