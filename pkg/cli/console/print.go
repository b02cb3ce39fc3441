package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/itchyny/gojq"
	"go.yaml.in/yaml/v3"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Table is how a list looks to people. Wide columns stand behind the others, and only with -o wide. Names are what -o name prints.
type Table struct {
	Columns []string
	Wide    []string
	Rows    [][]string // columns, then wide ones
	Names   []string
	Empty   string // what to say when there are no rows
}

// Print writes data in the form that --output asks for. data is what scripts get; table what people get.
func (c *Console) Print(data any, table Table) error {
	switch c.Output {
	case "json", "jsonl", "yaml":
		return c.PrintData(data)
	case "name":
		for _, name := range table.Names {
			if _, err := fmt.Fprintln(c.Out, name); err != nil {
				return err
			}
		}
		return nil
	}
	if len(table.Rows) == 0 {
		if table.Empty != "" {
			c.Say("%s", table.Empty)
		}
		return nil
	}
	columns := table.Columns
	if c.Output == "wide" {
		columns = append(append([]string{}, columns...), table.Wide...)
	}
	w := tabwriter.NewWriter(c.Out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(columns, "\t")) // Flush reports
	for _, row := range table.Rows {
		row = row[:min(len(row), len(columns))]
		for i := range row {
			row[i] = printable(row[i])
		}
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // Flush reports
	}
	return w.Flush()
}

// printable keeps control characters that came from the outside away from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '�'
		}
		return r
	}, s)
}

// PrintData writes data as json, jsonl or yaml (json when the output is a table), through --jq when given.
func (c *Console) PrintData(data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return omni.Errorf(omni.CodeInternal, "the result cannot be written: %w", err)
	}
	if c.JQ != "" {
		return c.filter(raw)
	}
	switch c.Output {
	case "yaml":
		return writeYAML(c.Out, raw)
	case "jsonl":
		var page struct {
			Items []json.RawMessage `json:"items"`
		}
		if json.Unmarshal(raw, &page) == nil && page.Items != nil {
			for _, item := range page.Items {
				if _, err := fmt.Fprintf(c.Out, "%s\n", item); err != nil {
					return err
				}
			}
			return nil
		}
		_, err := fmt.Fprintf(c.Out, "%s\n", raw)
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Out, pretty.String())
	return err
}

// writeYAML keeps the order of the fields, since YAML is a superset of JSON.
func writeYAML(out io.Writer, raw []byte) error {
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil {
		return err
	}
	block(&node)
	enc := yaml.NewEncoder(out)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

func block(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		block(child)
	}
}

func (c *Console) filter(raw []byte) error {
	parsed, err := gojq.Parse(c.JQ)
	if err != nil {
		return Usage("--jq: %v", err)
	}
	var input any
	if err := json.Unmarshal(raw, &input); err != nil {
		return err
	}
	results := parsed.Run(input)
	for {
		value, ok := results.Next()
		if !ok {
			return nil
		}
		if err, isErr := value.(error); isErr {
			return Usage("--jq: %v", err)
		}
		if text, isText := value.(string); isText {
			_, err = fmt.Fprintln(c.Out, text)
		} else {
			var line []byte
			if line, err = gojq.Marshal(value); err == nil {
				_, err = fmt.Fprintf(c.Out, "%s\n", line)
			}
		}
		if err != nil {
			return err
		}
	}
}

// Ago writes a moment for people, relative to now: "12s ago", "3h ago"; "–" for the zero time.
func (c *Console) Ago(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	d := c.Now().Sub(t)
	if d < 0 {
		return "in " + round(-d)
	}
	return round(d) + " ago"
}

func round(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Millis writes whole milliseconds for people: "–" for none, "840ms", "2.4s".
func Millis(ms *int64) string {
	switch {
	case ms == nil:
		return "–"
	case *ms < 1000:
		return fmt.Sprintf("%dms", *ms)
	case *ms < 60_000:
		return fmt.Sprintf("%.1fs", float64(*ms)/1000)
	}
	return (time.Duration(*ms) * time.Millisecond).Round(time.Second).String()
}
