package failover

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/failover"
)

// maxLanes bounds the resources that the live view shows in one level; the rest is counted.
const maxLanes = 12

// nameWidth is the width of the column of names, in characters, unless a name is longer.
const nameWidth = 20

// spinner is what turns while a step works.
var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// look colours the view, or leaves it plain.
type look struct{ good, bad, busy, dim, bold lipgloss.Style }

func newLook(color bool) look {
	plain := lipgloss.NewStyle()
	if !color {
		return look{plain, plain, plain, plain, plain}
	}
	return look{
		good: plain.Foreground(lipgloss.Color("2")),
		bad:  plain.Foreground(lipgloss.Color("1")).Bold(true),
		busy: plain.Foreground(lipgloss.Color("3")),
		dim:  plain.Faint(true),
		bold: plain.Bold(true),
	}
}

// mark is the sign and the style of a step's state.
func (l look) mark(s failover.StepStatus, frame int) (string, lipgloss.Style) {
	switch s {
	case failover.StepSucceeded:
		return "✓", l.good
	case failover.StepFailed:
		return "✗", l.bad
	case failover.StepRunning:
		return spinner[frame%len(spinner)], l.busy
	case failover.StepSkipped:
		return "–", l.dim
	case failover.StepRolledBack:
		return "↩", l.busy
	case failover.StepPending:
	}
	return "·", l.dim
}

// lane is one resource's steps within a level, in order.
type lane struct {
	level    int
	resource string
	steps    []failover.Step
}

// lanes groups the steps by level and resource, in the order of the plan.
func lanes(steps []failover.Step) []lane {
	var out []lane
	index := map[string]int{}
	for _, s := range steps {
		key := fmt.Sprintf("%d/%s", s.Level, s.Resource)
		at, ok := index[key]
		if !ok {
			at = len(out)
			index[key] = at
			out = append(out, lane{level: s.Level, resource: s.Resource})
		}
		out[at].steps = append(out[at].steps, s)
	}
	return out
}

// render draws a run: a headline, then each level with a line a resource. It is pure; now and frame are given.
func render(run failover.Run, now time.Time, frame int, l look) string {
	var b strings.Builder
	elapsed := now.Sub(run.InitiatedAt)
	if run.FinishedAt != nil {
		elapsed = run.FinishedAt.Sub(run.InitiatedAt)
	}
	fmt.Fprintf(&b, "%s %s: %s → %s  %s  %.1fs\n", l.bold.Render(string(run.Kind)), l.bold.Render(run.Tenant), run.From, run.To,
		statusStyle(run.Status, l).Render(string(run.Status)), max(0, elapsed.Seconds()))
	level, shown, hidden := -1, 0, 0
	width := nameWidth
	for _, s := range run.Steps {
		width = max(width, len(s.Resource))
	}
	for _, ln := range lanes(run.Steps) {
		if ln.level != level {
			writeHidden(&b, hidden, l)
			level, shown, hidden = ln.level, 0, 0
			fmt.Fprintf(&b, "%s\n", l.dim.Render(fmt.Sprintf("  level %d", level)))
		}
		if shown >= maxLanes && !active(ln) {
			hidden++
			continue
		}
		shown++
		writeLane(&b, ln, width, now, frame, l)
	}
	writeHidden(&b, hidden, l)
	if run.Error != "" {
		fmt.Fprintf(&b, "  %s %s\n", l.bad.Render("✗"), run.Error)
	}
	return b.String()
}

func writeHidden(b *strings.Builder, hidden int, l look) {
	if hidden > 0 {
		fmt.Fprintf(b, "    %s\n", l.dim.Render(fmt.Sprintf("… and %d more", hidden)))
	}
}

// active says whether something in the lane works or has failed, so that it is shown however many there are.
func active(ln lane) bool {
	for _, s := range ln.steps {
		if s.Status == failover.StepRunning || s.Status == failover.StepFailed {
			return true
		}
	}
	return false
}

func writeLane(b *strings.Builder, ln lane, width int, now time.Time, frame int, l look) {
	name := ln.resource
	if name == "" {
		name = "(all)"
	}
	fmt.Fprintf(b, "    %-*s", width, name)
	var trouble string
	for _, s := range ln.steps {
		sign, style := l.mark(s.Status, frame)
		fmt.Fprintf(b, "  %s %s%s", style.Render(sign), s.Action, l.dim.Render(took(s, now)))
		if s.Error != "" && s.Status != failover.StepSucceeded {
			trouble = fmt.Sprintf("%s: %s", s.Action, s.Error)
		}
	}
	b.WriteByte('\n')
	if trouble != "" {
		fmt.Fprintf(b, "    %-*s  %s\n", width, "", l.bad.Render(trouble))
	}
}

// took is how long the step took or has been at it, with its attempts when there was more than one.
func took(s failover.Step, now time.Time) string {
	out := ""
	switch {
	case s.DurationMS != nil:
		out = " " + console.Millis(s.DurationMS)
	case s.Status == failover.StepRunning && s.StartedAt != nil:
		ms := max(0, now.Sub(*s.StartedAt).Milliseconds())
		out = " " + console.Millis(&ms)
	}
	if s.Attempts > 1 {
		out += fmt.Sprintf(" (attempt %d)", s.Attempts)
	}
	return out
}

func statusStyle(s failover.Status, l look) lipgloss.Style {
	switch s {
	case failover.Succeeded:
		return l.good
	case failover.Failed, failover.Aborted:
		return l.bad
	case failover.AwaitingApproval, failover.Running, failover.Paused, failover.RolledBack:
	}
	return l.busy
}

// changes gives a plain line for each step whose state differs between two looks at a run, for output that is no
// terminal.
func changes(before map[string]failover.StepStatus, run failover.Run) []string {
	var lines []string
	for _, s := range run.Steps {
		if was, ok := before[s.ID]; s.Status == failover.StepPending || (ok && was == s.Status) {
			continue
		}
		before[s.ID] = s.Status
		name := s.Resource
		if name == "" {
			name = "(all)"
		}
		line := fmt.Sprintf("level %d  %-16s %-8s %s", s.Level, name, s.Action, s.Status)
		if s.DurationMS != nil {
			line += " in " + console.Millis(s.DurationMS)
		}
		if s.Message != "" {
			line += ": " + s.Message
		}
		if s.Error != "" && s.Status != failover.StepSucceeded {
			line += ": " + s.Error
		}
		lines = append(lines, line)
	}
	return lines
}
