package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/services/gateway"
)

// BenchmarkWrap is what the gateway adds to a request that passes both limits.
func BenchmarkWrap(b *testing.B) {
	limit := gateway.Limit{PerSecond: 1_000_000_000, Burst: 1_000_000_000}
	g := gateway.New(gateway.Options{PerAddress: limit, PerKey: limit})
	for name, h := range map[string]http.Handler{"bare": echo(), "gateway": g.Wrap(echo())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer x")
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
