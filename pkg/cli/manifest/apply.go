package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// maxRead bounds what is read of one file or of stdin, in bytes; the server takes less.
const maxRead = 8 << 20

func newApply(c *console.Console) *cobra.Command {
	var names []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "apply -f FILE|DIR|-", Short: "Make everything as manifests say, or nothing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := read(c.In, names)
			if err != nil {
				return err
			}
			api, err := c.Client()
			if err != nil {
				return err
			}
			result, err := api.Apply(cmd.Context(), files, dryRun)
			if err != nil {
				return err
			}
			return printResult(c, result)
		},
	}
	cmd.Flags().StringArrayVarP(&names, "filename", "f", nil, "a file, a directory (its .yaml, .yml and .json files) or - for stdin; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check everything and say what would be done")
	_ = cmd.MarkFlagRequired("filename") // declared above
	return cmd
}

func newDiff(c *console.Console) *cobra.Command {
	var names []string
	var detailed bool
	cmd := &cobra.Command{
		Use: "diff -f FILE|DIR|-", Short: "Say which fields an apply would change", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := read(c.In, names)
			if err != nil {
				return err
			}
			api, err := c.Client()
			if err != nil {
				return err
			}
			result, err := api.Diff(cmd.Context(), files)
			if err != nil {
				return err
			}
			if err := printDiff(c, result); err != nil {
				return err
			}
			if detailed && result.Created+result.Updated > 0 {
				return console.Exit(console.ExitDifferent, "")
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&names, "filename", "f", nil, "a file, a directory or - for stdin; may be repeated")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 2 when there are differences")
	_ = cmd.MarkFlagRequired("filename") // declared above
	return cmd
}

// read reads the manifests that the user named.
func read(stdin io.Reader, names []string) ([]config.File, error) {
	var files []config.File
	add := func(name string, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, maxRead+1))
		if err != nil {
			return omni.Errorf(omni.CodeInvalid, "%s cannot be read: %w", name, err)
		}
		if len(data) > maxRead {
			return omni.Errorf(omni.CodeTooLarge, "%s is larger than %d MiB", name, maxRead>>20)
		}
		files = append(files, config.File{Name: name, Content: string(data)})
		return nil
	}
	for _, name := range names {
		if name == "-" {
			if err := add("stdin", stdin); err != nil {
				return nil, err
			}
			continue
		}
		paths, err := below(name)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			file, err := os.Open(path) //nolint:gosec // the user named it
			if err != nil {
				return nil, omni.Errorf(omni.CodeInvalid, "%s cannot be read: %w", path, err)
			}
			err = add(path, file)
			_ = file.Close() // it was only read
			if err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// below gives the manifest files that name stands for, sorted.
func below(name string) ([]string, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, omni.Errorf(omni.CodeInvalid, "there is no file or directory %s", name)
	}
	if err != nil {
		return nil, omni.Errorf(omni.CodeInvalid, "%s cannot be read: %w", name, err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, omni.Errorf(omni.CodeInvalid, "%s cannot be read: %w", name, err)
	}
	var paths []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
			if !e.IsDir() {
				paths = append(paths, filepath.Join(name, e.Name()))
			}
		}
	}
	if len(paths) == 0 {
		return nil, omni.Errorf(omni.CodeInvalid, "directory %s holds no .yaml, .yml or .json file", name)
	}
	sort.Strings(paths)
	return paths, nil
}

func label(i config.Item) string {
	name := strings.ToLower(i.Kind) + "/" + i.Name
	if i.Tenant != "" {
		name += " (" + i.Tenant + ")"
	}
	return name
}

func printResult(c *console.Console, result config.Result) error {
	if c.Output != "table" && c.Output != "wide" {
		return c.Print(result, names(result))
	}
	for _, i := range result.Items {
		dry := ""
		if result.DryRun {
			dry = " (dry run)"
		}
		if _, err := fmt.Fprintf(c.Out, "%s %s%s\n", label(i), i.Outcome, dry); err != nil {
			return err
		}
	}
	would := ""
	if result.DryRun {
		would = "would be "
	}
	c.Say("%s%d created, %d updated, %d unchanged", would, result.Created, result.Updated, result.Unchanged)
	return nil
}

func printDiff(c *console.Console, result config.Result) error {
	if c.Output != "table" && c.Output != "wide" {
		return c.Print(result, names(result))
	}
	for _, i := range result.Items {
		if i.Outcome == omni.Unchanged {
			continue
		}
		sign := map[omni.Outcome]string{omni.Created: "+", omni.Updated: "~"}[i.Outcome]
		if _, err := fmt.Fprintf(c.Out, "%s %s\n", sign, label(i)); err != nil {
			return err
		}
		for _, f := range i.Fields {
			if _, err := fmt.Fprintf(c.Out, "    %s: %s → %s\n", f.Path, short(f.From), short(f.To)); err != nil {
				return err
			}
		}
	}
	c.Say("%d to create, %d to update, %d unchanged", result.Created, result.Updated, result.Unchanged)
	return nil
}

func names(result config.Result) console.Table {
	var t console.Table
	for _, i := range result.Items {
		t.Names = append(t.Names, strings.ToLower(i.Kind)+"/"+i.Name)
	}
	return t
}

// short writes a value on a line.
func short(v any) string {
	if v == nil {
		return "–"
	}
	text := fmt.Sprint(v)
	if r := []rune(text); len(r) > 120 {
		text = string(r[:120]) + "…"
	}
	return text
}
