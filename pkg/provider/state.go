package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// MaxState is the largest answer to check that is read, in bytes.
const MaxState = 64 << 10

// ParseState reads a target's answer to check: one JSON object with role, healthy, lag_seconds, lag_bytes and message, each of which
// may be left out. Without healthy a target does not count as healthy. Other fields are ignored, so that agents may be
// newer than omnid. An answer that is something else is an error with CodeInternal that shows its beginning.
func ParseState(answer []byte) (State, error) {
	if len(answer) > MaxState {
		return State{}, nonsense(answer, fmt.Sprintf("it is longer than %d bytes", MaxState))
	}
	answer = bytes.TrimSpace(answer)
	if len(answer) == 0 {
		return State{}, nonsense(answer, "it is empty")
	}
	if answer[0] != '{' {
		return State{}, nonsense(answer, "it is not a JSON object")
	}
	var raw struct {
		Role       string   `json:"role"`
		Healthy    *bool    `json:"healthy"`
		LagSeconds *float64 `json:"lag_seconds"`
		LagBytes   *int64   `json:"lag_bytes"`
		Message    string   `json:"message"`
	}
	if err := json.Unmarshal(answer, &raw); err != nil {
		return State{}, nonsense(answer, err.Error())
	}
	switch raw.Role {
	case RoleActive, RoleStandby, RoleStopped, RoleFenced, "":
	default:
		return State{}, nonsense(answer, fmt.Sprintf("role is %q, not active, standby, stopped or fenced", Shorten(raw.Role, 64)))
	}
	if raw.LagSeconds != nil && (*raw.LagSeconds < 0 || math.IsInf(*raw.LagSeconds, 0)) {
		return State{}, nonsense(answer, "lag_seconds is negative")
	}
	if raw.LagBytes != nil && *raw.LagBytes < 0 {
		return State{}, nonsense(answer, "lag_bytes is negative")
	}
	state := State{Role: raw.Role, LagSeconds: raw.LagSeconds, LagBytes: raw.LagBytes, Message: Clean(raw.Message)}
	if raw.Healthy != nil {
		state.Healthy = *raw.Healthy
	} else if state.Message == "" {
		state.Message = "check did not say whether it is healthy"
	}
	return state, nil
}

func nonsense(answer []byte, why string) error {
	shown := "nothing"
	if len(answer) > 0 {
		shown = fmt.Sprintf("%q", Shorten(Clean(Shorten(string(answer), 1024)), 200))
	}
	return omni.Errorf(omni.CodeInternal, "check answered %s, which cannot be used: %s", shown, Clean(why)).
		WithHint(`it must print one JSON object such as {"role":"standby","healthy":true,"lag_seconds":0.2}`)
}
