package provider

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of what a config may hold.
const (
	maxValue = 16 << 10 // bytes of one text
	maxList  = 256      // items of one list, pairs of one map
)

// Settings reads a placement's config field by field and gathers everything that is wrong with it, so that a driver's
// Validate and its calls read the config by the same code. Numbers may be of any type that YAML and JSON decode to.
type Settings struct {
	config map[string]any
	known  map[string]bool
	faults []omni.FieldError
}

// ReadSettings begins to read config.
func ReadSettings(config map[string]any) *Settings {
	return &Settings{config: config, known: map[string]bool{}}
}

// Fault notes that something is wrong with the field at path.
func (s *Settings) Fault(path, format string, args ...any) {
	s.faults = append(s.faults, omni.FieldError{Path: path, Message: fmt.Sprintf(format, args...)})
}

// get gives the field's value; null counts as left out.
func (s *Settings) get(name string) (any, bool) {
	s.known[name] = true
	v, ok := s.config[name]
	return v, ok && v != nil
}

// Text reads a text; what is left out is "".
func (s *Settings) Text(name string) string {
	v, ok := s.get(name)
	if !ok {
		return ""
	}
	text, ok := v.(string)
	if !ok {
		s.Fault(name, "must be a text")
		return ""
	}
	return s.bounded(name, text)
}

// bounded refuses texts that are too long, or that hold a NUL byte, which no program can be given.
func (s *Settings) bounded(path, text string) string {
	if len(text) > maxValue {
		s.Fault(path, "must be at most %d bytes long", maxValue)
		return ""
	}
	if strings.ContainsRune(text, 0) {
		s.Fault(path, "must not hold a NUL byte")
		return ""
	}
	return text
}

// Texts reads a list of texts; numbers and booleans in it are taken as they are written.
func (s *Settings) Texts(name string) []string {
	v, ok := s.get(name)
	if !ok {
		return nil
	}
	var items []any
	switch list := v.(type) {
	case []any:
		items = list
	case []string:
		for _, item := range list {
			items = append(items, item)
		}
	default:
		s.Fault(name, "must be a list")
		return nil
	}
	if len(items) > maxList {
		s.Fault(name, "must have at most %d items", maxList)
		return nil
	}
	texts := make([]string, 0, len(items))
	for i, item := range items {
		texts = append(texts, s.scalar(fmt.Sprintf("%s[%d]", name, i), item))
	}
	return texts
}

// Pairs reads a map of texts; numbers and booleans in it are taken as they are written.
func (s *Settings) Pairs(name string) map[string]string {
	v, ok := s.get(name)
	if !ok {
		return nil
	}
	items, ok := v.(map[string]any)
	if texts, plain := v.(map[string]string); plain {
		items, ok = map[string]any{}, true
		for key, text := range texts {
			items[key] = text
		}
	}
	if !ok {
		s.Fault(name, "must be a map of texts")
		return nil
	}
	if len(items) > maxList {
		s.Fault(name, "must have at most %d entries", maxList)
		return nil
	}
	pairs := make(map[string]string, len(items))
	for _, key := range slices.Sorted(maps.Keys(items)) {
		pairs[key] = s.scalar(name+"."+Shorten(key, 64), items[key])
	}
	return pairs
}

// scalar writes a value as text.
func (s *Settings) scalar(path string, v any) string {
	switch v := v.(type) {
	case string:
		return s.bounded(path, v)
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int, int64, uint64:
		return fmt.Sprint(v)
	}
	s.Fault(path, "must be a text, a number or a boolean")
	return ""
}

// Number reads a number from low to high; what is left out is fallback.
func (s *Settings) Number(name string, fallback, low, high float64) float64 {
	v, ok := s.get(name)
	if !ok {
		return fallback
	}
	var n float64
	switch v := v.(type) {
	case float64:
		n = v
	case int:
		n = float64(v)
	case int64:
		n = float64(v)
	case uint64:
		n = float64(v)
	case json.Number:
		parsed, err := v.Float64()
		if err != nil {
			parsed = math.NaN()
		}
		n = parsed
	default:
		n = math.NaN()
	}
	if !(n >= low && n <= high) { // so written, it also refuses NaN
		s.Fault(name, "must be a number from %v to %v", low, high)
		return fallback
	}
	return n
}

// Has says whether the field is there.
func (s *Settings) Has(name string) bool {
	_, ok := s.get(name)
	return ok
}

// Flag reads a boolean; what is left out is false.
func (s *Settings) Flag(name string) bool {
	v, ok := s.get(name)
	if !ok {
		return false
	}
	flag, ok := v.(bool)
	if !ok {
		s.Fault(name, "must be true or false")
	}
	return flag
}

// Duration reads a duration such as "30s", from low to high; what is left out is fallback.
func (s *Settings) Duration(name string, fallback, low, high time.Duration) time.Duration {
	v, ok := s.get(name)
	if !ok {
		return fallback
	}
	text, _ := v.(string)
	if given, ok := v.(omni.Duration); ok {
		text = given.String()
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < low || d > high {
		s.Fault(name, "must be a duration from %s to %s, such as %s", omni.Duration(low), omni.Duration(high), omni.Duration(fallback))
		return fallback
	}
	return d
}

// Faults gives everything that was wrong, fields that nobody has read included, sorted by path.
func (s *Settings) Faults() []omni.FieldError {
	fields := strings.Join(slices.Sorted(maps.Keys(s.known)), ", ")
	for name := range s.config {
		if !s.known[name] {
			s.known[name] = true
			s.Fault(Shorten(name, 64), "is not a field of this driver's config, which has %s", fields)
		}
	}
	slices.SortStableFunc(s.faults, func(a, b omni.FieldError) int { return cmp.Compare(a.Path, b.Path) })
	return s.faults
}

// Err gives what was wrong as one error, or nil; driver is whose config it is.
func (s *Settings) Err(driver string) error {
	faults := s.Faults()
	if len(faults) == 0 {
		return nil
	}
	return omni.Errorf(omni.CodeInvalid, "the config of the %s driver is wrong: %s %s", driver, faults[0].Path, faults[0].Message).
		WithFields(faults...).WithHint("correct the placement's config and apply the resource again")
}
