package migrate

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing/fstest"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

var fileForm = regexp.MustCompile(`^[0-9]{5}_[a-z0-9_]+\.sql$`)

// growingKey is what {{bigserial}} becomes: a primary key whose numbers are never given twice.
func growingKey(kind database.Kind) string {
	if kind == database.SQLite {
		return "integer primary key autoincrement"
	}
	return "bigint generated always as identity primary key"
}

// render gives the migrations of fsys as kind needs them.
func render(kind database.Kind, fsys fs.FS) (fs.FS, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	out := fstest.MapFS{}
	for _, e := range entries {
		if !fileForm.MatchString(e.Name()) {
			return nil, fmt.Errorf("migration %s: the name must look like 00001_name.sql", e.Name())
		}
		text, err := fs.ReadFile(fsys, e.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", e.Name(), err)
		}
		text, err = renderFile(kind, text)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", e.Name(), err)
		}
		out[e.Name()] = &fstest.MapFile{Data: text, Mode: 0o444}
	}
	return out, nil
}

const mark = "-- +dialect "

func renderFile(kind database.Kind, text []byte) ([]byte, error) {
	var out bytes.Buffer
	block := "" // the dialect of the block that the line is in
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if word, found := strings.CutPrefix(strings.TrimSpace(string(line)), mark); found {
			next, err := step(block, strings.TrimSpace(word))
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			block = next
			continue
		}
		if block == "" || block == string(kind) {
			out.Write(line)
		}
	}
	if block != "" {
		return nil, fmt.Errorf("the block of dialect %s has no end", block)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("{{bigserial}}"), []byte(growingKey(kind))), nil
}

// step says which block follows a mark with word inside of block.
func step(block, word string) (string, error) {
	switch {
	case word == "end" && block != "":
		return "", nil
	case word == "end":
		return "", fmt.Errorf("%send without a block", mark)
	case block != "":
		return "", fmt.Errorf("a block of dialect %s is still open", block)
	case word == string(database.SQLite), word == string(database.Postgres):
		return word, nil
	}
	return "", fmt.Errorf("%q is not a dialect; write sqlite, postgres or end", word)
}
