package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Event is a CloudEvent (CloudEvents 1.0.2, JSON format) with the extensions tenant, requestid and traceparent.
type Event struct {
	ID          string // "evt_…"
	Type        string // such as omni.failover.run.changed
	Source      string // the database that it comes from: /omnicloud/infra
	Subject     string // the ordering key: what it is about, such as failover/run_01k9…
	Tenant      string // "" is the platform's
	RequestID   string
	TraceParent string
	Time        time.Time // of the transaction, UTC
	Data        json.RawMessage

	failed error // of marshalling the data, for Append to report
}

// New makes an event about subject, which is also its ordering key. data is marshalled to JSON. Append fills in the ID, the
// time, the source, and what the request behind the context tells.
func New(typ, subject, tenant string, data any) Event {
	e := Event{Type: typ, Subject: subject, Tenant: tenant}
	e.Data, e.failed = json.Marshal(data)
	return e
}

// wire is the JSON form.
type wire struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            *time.Time      `json:"time,omitempty"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Tenant          string          `json:"tenant,omitempty"`
	RequestID       string          `json:"requestid,omitempty"`
	TraceParent     string          `json:"traceparent,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
}

const specVersion = "1.0"

// MarshalJSON implements json.Marshaler.
func (e Event) MarshalJSON() ([]byte, error) {
	w := wire{
		SpecVersion: specVersion, ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject,
		Tenant: e.Tenant, RequestID: e.RequestID, TraceParent: e.TraceParent,
	}
	if !e.Time.IsZero() {
		t := e.Time.UTC()
		w.Time = &t
	}
	if len(e.Data) > 0 {
		w.Data, w.DataContentType = e.Data, "application/json"
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler. It takes CloudEvents 1.0 with JSON data; attributes that it does not know are
// passed over.
func (e *Event) UnmarshalJSON(text []byte) error {
	var w wire
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	switch {
	case w.SpecVersion != specVersion:
		return fmt.Errorf("specversion: %q is not 1.0", w.SpecVersion)
	case w.ID == "" || w.Source == "" || w.Type == "":
		return fmt.Errorf("id, source and type must not be empty")
	case w.DataContentType != "" && w.DataContentType != "application/json":
		return fmt.Errorf("datacontenttype: %q is not application/json", w.DataContentType)
	}
	*e = Event{
		ID: w.ID, Type: w.Type, Source: w.Source, Subject: w.Subject, Tenant: w.Tenant,
		RequestID: w.RequestID, TraceParent: w.TraceParent, Data: w.Data,
	}
	if w.Time != nil {
		e.Time = w.Time.UTC()
	}
	return nil
}

// matches says whether typ is one of types: each is a whole type, or a prefix that ends in a dot; none means all.
func matches(types []string, typ string) bool {
	if len(types) == 0 {
		return true
	}
	for _, t := range types {
		if t == typ || strings.HasSuffix(t, ".") && strings.HasPrefix(typ, t) {
			return true
		}
	}
	return false
}
