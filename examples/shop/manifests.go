package shop

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// The regions' addresses in the manifests.
const (
	EastAddress = "127.0.10.1"
	WestAddress = "127.0.20.1"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// manifestCommand is how the manifests call the agent.
const manifestCommand = "command: [shop, agent, --dir, ./shop-data]"

// File is one manifest.
type File struct {
	Name string
	Data []byte
}

// ManifestFS gives the manifests as they stand, which is for a shop in ./shop-data with `shop` in the PATH.
func ManifestFS() fs.FS {
	sub, err := fs.Sub(manifests, "manifests")
	if err != nil {
		return manifests // "manifests" is a valid path: this cannot be
	}
	return sub
}

// Manifests gives the manifests, in the order of their names, for regions at other addresses, a shop in another directory, and
// another command to run the agent with: command is what stands before "agent", such as [omnictl, shop].
func Manifests(east, west, dir string, command []string) ([]File, error) {
	for _, a := range []string{east, west} {
		if _, err := netip.ParseAddr(a); err != nil {
			return nil, fmt.Errorf("%q is not an IP address", a)
		}
	}
	if len(command) == 0 {
		return nil, errors.New("the command is empty")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// JSON is YAML, and quotes whatever needs it.
	agent, err := json.Marshal(append(slices.Clone(command), "agent", "--dir", dir))
	if err != nil {
		return nil, err
	}
	replace := strings.NewReplacer(EastAddress, east, WestAddress, west, manifestCommand, "command: "+string(agent))
	var files []File
	err = eachManifest(func(name string, data []byte) {
		files = append(files, File{Name: name, Data: []byte(replace.Replace(string(data)))})
	})
	return files, err
}

func eachManifest(each func(name string, data []byte)) error {
	entries, err := fs.ReadDir(ManifestFS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := fs.ReadFile(ManifestFS(), e.Name())
		if err != nil {
			return err
		}
		each(e.Name(), data)
	}
	return nil
}

// printManifests prints them as one stream.
func printManifests(stdout io.Writer) error {
	var failed error
	err := eachManifest(func(_ string, data []byte) {
		_, err := fmt.Fprintf(stdout, "---\n%s", data)
		failed = errors.Join(failed, err)
	})
	return errors.Join(err, failed)
}
