package provider_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

func TestSettingsTakeWhatManifestsAndJSONDecodeTo(t *testing.T) {
	s := provider.ReadSettings(map[string]any{
		"text": "a", "list": []any{"a", 1, true, 2.5, uint64(7)}, "map": map[string]any{"PORT": 8080, "RATE": json.Number("1.50")},
		"whole": 3, "json": json.Number("4"), "float": 0.5, "time": "1m30s", "flag": true, "nothing": nil,
	})
	if got := s.Text("text"); got != "a" {
		t.Errorf("text %q", got)
	}
	if got := strings.Join(s.Texts("list"), " "); got != "a 1 true 2.5 7" {
		t.Errorf("list %q", got)
	}
	if got := s.Pairs("map"); got["PORT"] != "8080" || got["RATE"] != "1.50" {
		t.Errorf("map %v", got)
	}
	if a, b, c := s.Number("whole", 0, 0, 9), s.Number("json", 0, 0, 9), s.Number("float", 0, 0, 9); a != 3 || b != 4 || c != 0.5 {
		t.Errorf("numbers %v %v %v", a, b, c)
	}
	if got := s.Duration("time", 0, 0, time.Hour); got != 90*time.Second {
		t.Errorf("time %v", got)
	}
	if !s.Flag("flag") || s.Flag("absent") || s.Has("nothing") || s.Number("absent", 5, 0, 9) != 5 {
		t.Error("flags and defaults")
	}
	if err := s.Err("test"); err != nil {
		t.Errorf("unexpected: %v %+v", err, s.Faults())
	}
}

func TestSettingsNameEveryFault(t *testing.T) {
	s := provider.ReadSettings(map[string]any{
		"text": 5, "long": strings.Repeat("x", 20_000), "nul": "a\x00b", "list": "a", "item": []any{[]any{}}, "map": []any{}, "pair": map[string]any{"K": nil},
		"number": math.NaN(), "time": "later", "flag": "true", "other": 1,
	})
	s.Text("text")
	s.Text("long")
	s.Text("nul")
	s.Texts("list")
	s.Texts("item")
	s.Pairs("map")
	s.Pairs("pair")
	s.Number("number", 0, 0, 1)
	s.Duration("time", time.Second, 0, time.Hour)
	s.Flag("flag")
	got := map[string]string{}
	for _, f := range s.Faults() {
		got[f.Path] = f.Message
	}
	for _, path := range []string{"text", "long", "nul", "list", "item[0]", "map", "pair.K", "number", "time", "flag", "other"} {
		if got[path] == "" {
			t.Errorf("no fault at %s", path)
		}
		delete(got, path)
	}
	if len(got) > 0 {
		t.Errorf("more faults than expected: %v", got)
	}
	if err := s.Err("test"); !omni.Is(err, omni.CodeInvalid) {
		t.Errorf("%v, want CodeInvalid", err)
	}
}

func TestRegistry(t *testing.T) {
	r := provider.NewRegistry(map[string]provider.Driver{"b": picky{}, "a": picky{}})
	if _, err := r.Driver("c"); !omni.Is(err, omni.CodeInvalid) || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("an unknown driver: %v", err)
	}
	if d, err := r.Driver("a"); err != nil || d == nil {
		t.Errorf("a known driver: %v", err)
	}
	if got := r.Validate("c", nil); len(got) != 1 || got[0].Path != "driver" || !strings.Contains(got[0].Message, "a, b") {
		t.Errorf("%+v", got)
	}
	if got := r.Validate("a", nil); len(got) != 1 || got[0].Path != "config.command" {
		t.Errorf("%+v", got)
	}
}

// picky refuses every config.
type picky struct{ provider.Driver }

func (picky) Validate(map[string]any) []omni.FieldError {
	return []omni.FieldError{{Path: "command", Message: "must be there"}}
}

func TestTailKeepsTheEndWithinItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tail provider.Tail
		var all strings.Builder
		for _, part := range rapid.SliceOf(rapid.StringN(0, 6000, 9000)).Draw(t, "parts") {
			n, err := tail.Write([]byte(part))
			if n != len(part) || err != nil {
				t.Fatalf("Write gave %d, %v", n, err)
			}
			all.WriteString(part)
		}
		got := tail.String()
		if len(got) > provider.MaxText || !utf8.ValidString(got) {
			t.Fatalf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
		if want := provider.Clean(all.String()); all.Len() <= provider.MaxText && got != want {
			t.Fatalf("%q, want %q", got, want)
		}
		if last := provider.Clean(all.String()[max(0, all.Len()-20):]); all.Len() > provider.MaxText && !strings.HasSuffix(got, last) && strings.TrimSpace(last) != "" {
			t.Fatalf("%q does not end with %q", got, last)
		}
	})
}

func FuzzParseState(f *testing.F) {
	for _, seed := range []string{`{"role":"active","healthy":true}`, `{"lag_seconds":-1}`, `[]`, `{"role":5}`, ``, `{"lag_seconds":1e999}`, "{\"message\":\"\\u0000\\ud800\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		state, err := provider.ParseState(answer)
		if err != nil {
			if !omni.Is(err, omni.CodeInternal) || len(err.Error()) > 8<<10 {
				t.Errorf("%v", err)
			}
			return
		}
		if state.LagSeconds != nil && (*state.LagSeconds < 0 || math.IsNaN(*state.LagSeconds)) || len(state.Message) > provider.MaxText {
			t.Errorf("%+v", state)
		}
		if _, err := json.Marshal(state); err != nil {
			t.Errorf("it cannot be written again: %v", err)
		}
	})
}
