package demo

import (
	"fmt"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/failover"
)

// Report is what the demo found. All _ms are whole milliseconds since the kill; null where it did not happen.
type Report struct {
	Run                string          `json:"run"`
	KilledRegion       string          `json:"killed_region"`
	DetectedMS         *int64          `json:"detected_ms"`
	DecidedMS          *int64          `json:"decided_ms"`
	DNSSwitchedMS      *int64          `json:"dns_switched_ms"`
	FirstWriteMS       *int64          `json:"first_write_ms"`
	Steps              []failover.Step `json:"steps"`
	OrdersAcknowledged int64           `json:"orders_acknowledged"`
	OrdersLost         int64           `json:"orders_lost"`
	TwoWriters         bool            `json:"two_writers"`
	Usage              []Usage         `json:"usage"`
	AuditVerified      bool            `json:"audit_verified"`

	auditEntries int64
	dir          string
}

// Usage is what was metered in a region.
type Usage struct {
	Region   string `json:"region"`
	Unit     string `json:"unit"`
	Quantity int64  `json:"quantity"`
}

// print writes the report: as data for scripts, as a short story for people.
func print(c *console.Console, r Report) error {
	if c.Output != "table" && c.Output != "wide" {
		return c.Print(r, console.Table{Names: []string{r.Run}})
	}
	line := func(label, format string, args ...any) error {
		_, err := fmt.Fprintf(c.Out, "  %-26s %s\n", label, fmt.Sprintf(format, args...))
		return err
	}
	if _, err := fmt.Fprintf(c.Out, "\nAfter the death of %s:\n", r.KilledRegion); err != nil {
		return err
	}
	rows := [][2]string{
		{"detected after", console.Millis(r.DetectedMS)},
		{"decided after", console.Millis(r.DecidedMS)},
	}
	for _, s := range r.Steps {
		if s.Status == failover.StepSkipped {
			continue
		}
		name := string(s.Action)
		if s.Resource != "" {
			name += " " + s.Resource
		}
		rows = append(rows, [2]string{"  " + name, console.Millis(s.DurationMS)})
	}
	rows = append(
		rows,
		[2]string{"DNS switched after", console.Millis(r.DNSSwitchedMS)},
		[2]string{"first order accepted after", console.Millis(r.FirstWriteMS)},
		[2]string{"orders acknowledged", fmt.Sprint(r.OrdersAcknowledged)},
		[2]string{"orders lost", fmt.Sprint(r.OrdersLost)},
		[2]string{"two writers at any time", yes(r.TwoWriters)},
	)
	for _, u := range r.Usage {
		rows = append(rows, [2]string{"metered in " + u.Region, fmt.Sprintf("%d %ss", u.Quantity, u.Unit)})
	}
	audit := fmt.Sprintf("verified, %d entries", r.auditEntries)
	if !r.AuditVerified {
		audit = "BROKEN"
	}
	rows = append(rows, [2]string{"audit trail", audit}, [2]string{"run", r.Run})
	for _, row := range rows {
		if err := line(row[0], "%s", row[1]); err != nil {
			return err
		}
	}
	return nil
}

func yes(b bool) string {
	if b {
		return "YES"
	}
	return "no"
}
