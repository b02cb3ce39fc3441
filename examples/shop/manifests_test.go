package shop_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/omnicloud/omnicloud/examples/shop"
)

// documents reads every YAML document as generic values.
func documents(t *testing.T, data []byte) (docs []map[string]any) {
	t.Helper()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		doc := map[string]any{}
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return docs
		} else if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, doc)
	}
}

func TestManifests(t *testing.T) {
	kinds := []string{"Region", "Region", "Tenant", "Resource", "Resource", "Resource", "FailoverPolicy", "Zone"}
	t.Run("stand as they are", func(t *testing.T) {
		names, err := fs.Glob(shop.ManifestFS(), "*.yaml")
		if err != nil || len(names) != 5 {
			t.Fatalf("%v, %v", names, err)
		}
		var found []string
		for _, name := range names {
			data, err := fs.ReadFile(shop.ManifestFS(), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, doc := range documents(t, data) {
				found = append(found, doc["kind"].(string))
			}
		}
		if !slices.Equal(found, kinds) {
			t.Fatalf("kinds %v", found)
		}
	})
	t.Run("are rewritten whole, whatever the path and the command hold", func(t *testing.T) {
		command := []string{"/opt/my tools/omni\"ctl", "shop", "--x=: #{}'"}
		files, err := shop.Manifests("127.9.8.1", "127.7.6.1", "/tmp/a b: {c}", command)
		if err != nil {
			t.Fatal(err)
		}
		agents, all := 0, ""
		for _, f := range files {
			all += string(f.Data)
			for _, doc := range documents(t, f.Data) {
				spec := doc["spec"].(map[string]any)
				placements, _ := spec["placements"].([]any)
				for _, p := range placements {
					agents++
					got, _ := json.Marshal(p.(map[string]any)["config"].(map[string]any)["command"])
					want, _ := json.Marshal(append(slices.Clone(command), "agent", "--dir", "/tmp/a b: {c}"))
					if !bytes.Equal(got, want) {
						t.Errorf("command %s", got)
					}
				}
			}
		}
		if agents != 6 || strings.Contains(all, shop.EastAddress) || strings.Contains(all, shop.WestAddress) || strings.Contains(all, "./shop-data") {
			t.Errorf("%d agents in\n%s", agents, all)
		}
		if strings.Count(all, "127.9.8.1") != 6 || strings.Count(all, "127.7.6.1") != 6 {
			t.Errorf("addresses in\n%s", all)
		}
	})
	t.Run("refuse what is no address", func(t *testing.T) {
		if _, err := shop.Manifests("localhost", "127.7.6.1", ".", []string{"shop"}); err == nil {
			t.Error("localhost was taken")
		}
	})
}
