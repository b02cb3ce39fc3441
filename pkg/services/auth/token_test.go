package auth

import (
	"bytes"
	"strings"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

const sampleID = "key_01k9a0b1c2d3e4f5g6h7j8k9m0"

func TestToken(t *testing.T) {
	c := newCodec()
	made, text := c.make(sampleID)
	t.Run("reads back as it was made", func(t *testing.T) {
		got, err := c.parse(text)
		if err != nil || got != made {
			t.Fatalf("%+v, %v; want %+v", got, err, made)
		}
	})
	t.Run("is one word of 90 characters", func(t *testing.T) {
		if len(text) != 90 || strings.Trim(text[5:], "0123456789abcdefghjkmnpqrstvwxyz") != "" {
			t.Errorf("token is %q", text)
		}
	})
	t.Run("with any one character changed is told from a wrong one", func(t *testing.T) {
		for i := range text {
			for _, r := range []byte("0z_A\x00") {
				if text[i] == r {
					continue
				}
				changed := []byte(text)
				changed[i] = r
				if got, err := c.parse(string(changed)); err == nil {
					t.Fatalf("character %d as %q: read as %+v", i, r, got)
				}
			}
		}
	})
	t.Run("cut or longer is malformed", func(t *testing.T) {
		for _, s := range []string{"", "omni_", text[:89], text + "0", "Bearer " + text, strings.ToUpper(text)} {
			if _, err := c.parse(s); !omni.Is(err, omni.CodeUnauthorized) {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
	t.Run("is stored under its pepper and its key only", func(t *testing.T) {
		other := made
		other.id = strings.Replace(made.id, "9", "8", 1)
		a := made.hash([]byte("pepper"))
		if bytes.Equal(a, made.hash([]byte("other"))) || bytes.Equal(a, other.hash([]byte("pepper"))) || len(a) != 32 {
			t.Error("hashes do not differ")
		}
	})
	t.Run("never repeats", func(t *testing.T) {
		if _, again := c.make(sampleID); again == text {
			t.Error("the same token twice")
		}
	})
}

func FuzzToken(f *testing.F) {
	c := newCodec()
	_, text := c.make(sampleID)
	for _, s := range []string{text, text[:60], "omni_", "", strings.Repeat("z", tokenLength), tokenPrefix + strings.Repeat("0", tokenLength-5), "omni_\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := c.parse(s)
		if err != nil {
			if !omni.Is(err, omni.CodeUnauthorized) || len(s) > 20 && strings.Contains(err.Error(), s) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		if c.text(got) != s {
			t.Fatalf("%q is another text of %q", s, c.text(got))
		}
	})
}
