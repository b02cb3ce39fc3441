package omni

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"regexp"
	"time"
)

// crockford is base32 without the letters that people misread (Crockford's alphabet), in lower case.
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID makes an identifier such as "run_01k9…": the prefix, 48 bits of now in milliseconds and 80 random bits, as
// a ULID, so that ids sort by the time they were made.
func NewID(prefix string, now time.Time) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.UnixMilli())<<16)
	if _, err := rand.Read(raw[6:]); err != nil {
		panic("the system has no randomness: " + err.Error())
	}
	return prefix + "_" + crockford.EncodeToString(raw[:])
}

// MaxName is the longest name in bytes: that of a DNS label (RFC 1035), since names become labels.
const MaxName = 63

var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// CheckName says whether name can name an object: 1 to 63 of a–z, 0–9 and '-', not at either end (RFC 1123 label).
// The error is CodeInvalid and names field.
func CheckName(field, name string) error {
	if len(name) <= MaxName && nameForm.MatchString(name) {
		return nil
	}
	shown := name
	if len(shown) > MaxName {
		shown = shown[:MaxName] + "…"
	}
	return Errorf(CodeInvalid, "%s: %q is not a name", field, shown).
		WithFields(FieldError{Path: field, Message: "must be 1 to 63 of a–z, 0–9 and '-', with no '-' at either end"}).
		WithHint("use lower-case letters, digits and '-', for example orders-db")
}
