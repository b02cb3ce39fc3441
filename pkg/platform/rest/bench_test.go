package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// BenchmarkRequest compares a route with the least that net/http could do for the same body, in one run: the ratio is the price of
// keys, permissions, bounds, validation and logs.
func BenchmarkRequest(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/things", func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		var body thing
		if err == nil {
			err = json.Unmarshal(data, &body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(body)
	})
	api := rest.New(rest.Options{Authenticator: someKeys(), Logger: discard()})
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: "/api/v1/things", ID: "create", Permission: "things.write", Status: 201},
		func(_ context.Context, in *createThing) (*rest.ItemOutput[thing], error) {
			return rest.Item(in.Body), nil
		})
	const body = `{"name":"orders","spec":{"size":3,"ttl":"30s","parts":[{"name":"x"},{"name":"y"}],"tags":{"team":"shop"}}}`
	for name, h := range map[string]http.Handler{"mux": mux, "rest": api.Handler()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/api/v1/things", strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer root")
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusCreated {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
