package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// The parts of a token, in characters.
const (
	tokenPrefix  = "omni_"
	idLength     = 26 // 128 bits
	secretLength = 52 // 256 bits
	sumLength    = 7  // 32 bits
	tokenLength  = len(tokenPrefix) + idLength + secretLength + sumLength
	secretBytes  = 32
	keyPrefix    = "key_"
)

// codec writes and reads tokens. It carries the alphabet, which is costly to make and safe to share.
type codec struct{ base32 *base32.Encoding }

func newCodec() codec {
	return codec{base32: base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)}
}

// token is what a holder of a key presents, taken apart.
type token struct {
	id     string // of the key, with its prefix
	secret string
}

// make gives a new token for the key called id, which omni.NewID has made with the prefix "key".
func (c codec) make(id string) (token, string) {
	raw := make([]byte, secretBytes)
	if _, err := rand.Read(raw); err != nil { // since Go 1.24 it ends the program instead
		return token{}, ""
	}
	t := token{id: id, secret: c.base32.EncodeToString(raw)}
	return t, c.text(t)
}

// text puts a token together.
func (c codec) text(t token) string {
	body := tokenPrefix + strings.TrimPrefix(t.id, keyPrefix) + t.secret
	return body + c.checksum(body)
}

func (c codec) checksum(body string) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE([]byte(body)))
	return c.base32.EncodeToString(sum[:])
}

// parse takes a token apart. Every text that it takes is the only one for its id and secret.
func (c codec) parse(text string) (token, error) {
	switch {
	case !strings.HasPrefix(text, tokenPrefix):
		return token{}, malformed("it does not begin with " + tokenPrefix)
	case len(text) != tokenLength:
		return token{}, malformed("it is not as long as keys are; was all of it copied?")
	}
	body, sum := text[:tokenLength-sumLength], text[tokenLength-sumLength:]
	if c.checksum(body) != sum {
		return token{}, malformed("its checksum does not fit; was it typed by hand?")
	}
	id, secret := body[len(tokenPrefix):len(tokenPrefix)+idLength], body[len(tokenPrefix)+idLength:]
	if !c.canonical(id) || !c.canonical(secret) {
		return token{}, malformed("it holds characters that keys do not have")
	}
	return token{id: keyPrefix + id, secret: secret}, nil
}

// canonical says whether s is how its own bytes are written: the last character holds bits that decoding ignores.
func (c codec) canonical(s string) bool {
	raw, err := c.base32.DecodeString(s)
	return err == nil && c.base32.EncodeToString(raw) == s
}

func malformed(why string) error {
	return omni.Errorf(omni.CodeUnauthorized, "this is not an API key of OmniCloud: %s", why).
		WithHint("send Authorization: Bearer with the token as it was shown when the key was made")
}

// hash is what the store holds of a token.
func (t token) hash(pepper []byte) []byte {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(t.id + "." + t.secret))
	return mac.Sum(nil)
}
