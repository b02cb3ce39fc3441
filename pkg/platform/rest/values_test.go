package rest_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

func TestIfMatch(t *testing.T) {
	cases := map[string]struct {
		version int64
		ok      bool
		invalid bool
	}{
		"": {}, "*": {}, `"7"`: {7, true, false}, ` "7" `: {7, true, false}, `"0"`: {0, true, false},
		`W/"7"`: {invalid: true}, `7`: {invalid: true}, `"07"`: {invalid: true}, `"-1"`: {invalid: true}, `"7", "8"`: {invalid: true},
		`"9223372036854775808"`: {invalid: true}, `"`: {invalid: true}, `""`: {invalid: true}, `"+7"`: {invalid: true},
	}
	for header, want := range cases {
		version, ok, err := rest.ParseIfMatch(header)
		if version != want.version || ok != want.ok || (err != nil) != want.invalid {
			t.Errorf("%q: got %d, %t, %v", header, version, ok, err)
		}
		if err != nil && !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("%q: code %s", header, omni.CodeOf(err))
		}
	}
	if err := rest.CheckMatch(`"7"`, 8); !omni.Is(err, omni.CodeStale) {
		t.Errorf("another version: %v", err)
	}
	for _, header := range []string{"", "*", `"8"`} {
		if err := rest.CheckMatch(header, 8); err != nil {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestCursor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "parts")
		back, err := rest.ParseCursor(rest.Cursor(parts...), len(parts))
		if err != nil || !slices.Equal(back, parts) {
			t.Fatalf("%q came back as %q, %v", parts, back, err)
		}
		if _, err := rest.ParseCursor(rest.Cursor(parts...), len(parts)+1); !omni.Is(err, omni.CodeInvalid) {
			t.Fatalf("a cursor of another list passes: %v", err)
		}
	})
	if parts, err := rest.ParseCursor("", 2); parts != nil || err != nil {
		t.Errorf("no cursor: %v, %v", parts, err)
	}
}

func TestStreamAfter(t *testing.T) {
	for id, want := range map[string]int64{"": -1, "0": 0, "42": 42} {
		if got, err := (&rest.StreamInput{LastEventID: id}).After(); got != want || err != nil {
			t.Errorf("%q: got %d, %v", id, got, err)
		}
	}
	for _, id := range []string{"-2", "x", "9223372036854775808"} {
		if _, err := (&rest.StreamInput{LastEventID: id}).After(); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestCheckJSONAgrees holds the checker to encoding/json: what it lets pass is valid, and what it refuses beyond that it can name.
func TestCheckJSONAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := []byte(rapid.StringOfN(rapid.RuneFrom([]rune(`{}[]",:\u0a1e-+.tfn `)), 0, 40, -1).Draw(t, "data"))
		agrees(t, data)
	})
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Float64())).Draw(t, "m")
		data, err := json.Marshal(m)
		if err != nil {
			t.Skip(err)
		}
		for k := range m {
			if strings.ContainsRune(k, 0) {
				t.Skip("NUL")
			}
		}
		if err := rest.CheckJSON(data); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	})
}

type failer interface {
	Fatalf(format string, args ...any)
}

func agrees(t failer, data []byte) {
	err := rest.CheckJSON(data)
	if err == nil {
		var v any
		if json.Unmarshal(data, &v) != nil {
			t.Fatalf("%q passes, and is not valid", data)
		}
		return
	}
	if !omni.Is(err, omni.CodeInvalid) {
		t.Fatalf("%q: %v", data, err)
	}
	if !json.Valid(data) {
		return
	}
	for _, reason := range []string{"twice", "deeper", "NUL", "UTF-8", "surrogate", "too large", "characters"} {
		if strings.Contains(err.Error(), reason) {
			return
		}
	}
	t.Fatalf("%q is valid, and refused: %v", data, err)
}

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e3,"x\n",null,true],"b":{"c":{}}}`, `{"a":1,"a":2}`, `"\ud834\udd1e"`, `[[[[`, `-0.0e-1`, `1e400`, "\"\xff\"", `"\u0000"`, `{"\u0061":1,"a":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { agrees(t, data) })
}

func FuzzIfMatch(f *testing.F) {
	for _, seed := range []string{`"1"`, `*`, `W/"1"`, `"9223372036854775807"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		version, ok, err := rest.ParseIfMatch(header)
		if ok && (err != nil || rest.ETag(version) != strings.Trim(header, " \t")) {
			t.Fatalf("%q is read as %d", header, version)
		}
		if err != nil && ok {
			t.Fatalf("%q is both", header)
		}
	})
}

func FuzzTraceParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more")
	f.Fuzz(func(t *testing.T, header string) {
		if !rest.WellFormedTraceParent(header) {
			return
		}
		parts := strings.Split(header, "-")
		if len(parts) < 4 || len(parts[1]) != 32 || len(parts[2]) != 16 || !utf8.ValidString(header) && len(parts) == 4 {
			t.Fatalf("%q passes", header)
		}
		if _, err := strconv.ParseUint(parts[2], 16, 64); err != nil {
			t.Fatalf("%q passes: %v", header, err)
		}
		if bytes.ContainsAny([]byte(parts[1]), "ABCDEF") {
			t.Fatalf("%q passes", header)
		}
	})
}
