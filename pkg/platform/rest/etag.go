package rest

import (
	"strconv"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// ETag writes a version as a strong entity tag (RFC 9110, 8.8.3).
func ETag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ParseIfMatch reads an If-Match header (RFC 9110, 13.1.1) of one tag that ETag wrote. ok is false when there is no condition:
// no header, or "*". A list and a weak tag, which If-Match never matches, are CodeInvalid.
func ParseIfMatch(header string) (version int64, ok bool, err error) {
	value := strings.Trim(header, " \t")
	if value == "" || value == "*" {
		return 0, false, nil
	}
	digits, isTag := strings.CutPrefix(value, `"`)
	if isTag {
		digits, isTag = strings.CutSuffix(digits, `"`)
	}
	if isTag {
		version, err = strconv.ParseInt(digits, 10, 64)
	}
	if !isTag || err != nil || version < 0 || ETag(version) != value {
		return 0, false, omni.Errorf(omni.CodeInvalid, "If-Match: is not the ETag of an object of this API").
			WithFields(omni.FieldError{Path: "If-Match", Message: `must be one ETag as it was given, such as "7"`}).
			WithHint("send the ETag header of the answer that you read before")
	}
	return version, true, nil
}

// CheckMatch compares an If-Match header with the version that is there: CodeStale when they differ.
func CheckMatch(header string, current int64) error {
	version, ok, err := ParseIfMatch(header)
	if err != nil {
		return err
	}
	if ok && version != current {
		return omni.Errorf(omni.CodeStale, "it has changed since you read it: you read version %d, it is at version %d now", version, current).
			WithHint("read it again, and repeat your change on what you find")
	}
	return nil
}
