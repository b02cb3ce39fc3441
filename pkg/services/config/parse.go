package config

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of what is read at once.
const (
	maxFiles   = 256
	maxBytes   = 4 << 20 // of all files together
	maxObjects = 10_000
	maxNodes   = 500_000 // YAML values of one file
	maxAliased = 20_000  // of those, the ones that aliases stand for, counted each time
	maxLabels  = 64
)

// File is one file of manifests: YAML of one or more documents, or JSON. Name is only for messages.
type File struct {
	Name    string `json:"name" doc:"shown in errors"`
	Content string `json:"content" doc:"YAML, several documents allowed, or JSON"`
}

// Object is one object of a manifest. Spec is what its Kind's New gave, filled in.
type Object struct {
	Kind     string
	Metadata omni.Metadata
	Spec     any

	file string
	at   map[string]position
}

// where gives the place of path in the object's file, or of the nearest part around it.
func (o Object) where(path string) position {
	for path != "" {
		if p, ok := o.at[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return o.at[""]
}

// String names the object, as in "Resource acme/orders-db".
func (o Object) String() string {
	if o.Metadata.Tenant == "" {
		return o.Kind + " " + plain(o.Metadata.Name)
	}
	return o.Kind + " " + plain(o.Metadata.Tenant) + "/" + plain(o.Metadata.Name)
}

// Manifests are the objects of some files, in their order.
type Manifests struct{ Objects []Object }

// Parse reads files. Its error is CodeInvalid and names every fault (at most 50) with file, line, column and path.
func (r Registry) Parse(files []File) (Manifests, error) {
	if len(files) > maxFiles {
		return Manifests{}, omni.Errorf(omni.CodeTooLarge, "there are %d files; at most %d are read at once", len(files), maxFiles)
	}
	total := 0
	for _, f := range files {
		total += len(f.Content)
	}
	if total > maxBytes {
		return Manifests{}, omni.Errorf(omni.CodeTooLarge, "the files have %d bytes together; at most %d are read at once", total, maxBytes).
			WithHint("apply them in parts")
	}
	p := &parser{registry: r, faults: &faults{}, seen: map[identity]place{}}
	for _, f := range files {
		p.file(f)
	}
	if len(p.objects) == 0 && len(p.faults.list) == 0 {
		return Manifests{}, omni.Errorf(omni.CodeInvalid, "the manifest holds no objects").WithHint("write documents with apiVersion: %s, kind, metadata and spec", APIVersion)
	}
	return Manifests{Objects: p.objects}, p.faults.err()
}

// identity is what may be there once.
type identity struct{ kind, tenant, name string }

// place is where an object stands.
type place struct {
	file string
	line int
}

type parser struct {
	registry Registry
	faults   *faults
	objects  []Object
	seen     map[identity]place
}

func (p *parser) file(f File) {
	name := plain(f.Name)
	d := &decoder{
		file: name, faults: p.faults, budget: maxNodes, aliased: maxAliased, open: map[*yaml.Node]bool{}, fields: map[reflect.Type][]field{},
	}
	stream := yaml.NewDecoder(strings.NewReader(f.Content))
	for !p.faults.full() && d.budget > 0 && d.aliased >= 0 {
		var doc yaml.Node
		err := next(stream, &doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, message := syntax(err)
			p.faults.add(name, position{line: line}, "", "is not YAML: %s", message)
			return
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || null(doc.Content[0]) {
			continue // an empty document, as behind a last ---
		}
		if len(p.objects) >= maxObjects {
			p.faults.add(name, at(doc.Content[0]), "", "is more than the %d objects that are read at once", maxObjects)
			return
		}
		d.at = map[string]position{}
		if o, ok := p.object(d, doc.Content[0]); ok {
			p.objects = append(p.objects, o)
		}
	}
}

// next reads a document. The library reports some faults by panicking with what it does not recover itself.
func next(stream *yaml.Decoder, doc *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: it cannot be read: %v", p)
		}
	}()
	return stream.Decode(doc)
}

// syntax takes the line out of an error of the library.
func syntax(err error) (line int, message string) {
	message = err.Error()
	if m := regexp.MustCompile(`^yaml: line (\d+): (.*)$`).FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits, and few
		return line, plain(m[2])
	}
	return 0, plain(strings.TrimPrefix(message, "yaml: "))
}

// head is what is at the top of every document, besides its spec.
type head struct {
	APIVersion string        `yaml:"apiVersion"`
	Kind       string        `yaml:"kind"`
	Metadata   omni.Metadata `yaml:"metadata"`
}

// object reads a document. It is false when no object came of it; the faults say why.
func (p *parser) object(d *decoder, n *yaml.Node) (Object, bool) {
	before := len(p.faults.list)
	n, leave, ok := d.enter(n, "", 0)
	defer leave()
	if !ok {
		return Object{}, false
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, "", "is not a manifest: it must be an object with apiVersion, kind, metadata and spec, not %s", shape(n))
		return Object{}, false
	}
	var h head
	spec := p.head(d, n, &h)
	sound := len(p.faults.list) == before // so that what follows does not report the same in other words
	o := Object{Kind: h.Kind, Metadata: h.Metadata, file: d.file, at: d.at}
	kind, known := p.registry.kinds[h.Kind]
	if known {
		o.Spec = kind.New()
		p.spec(d, n, spec, o.Spec)
	} else if h.Kind != "" || sound {
		hint := "there are " + strings.Join(p.registry.names(), ", ")
		if near := nearest(h.Kind, p.registry.names()); near != "" {
			hint = "did you mean " + near + "?"
		}
		p.faults.add(d.file, o.where("kind"), "kind", "%s is not a kind; %s", quoted(h.Kind), hint)
	}
	if h.APIVersion != APIVersion && (h.APIVersion != "" || sound) {
		p.faults.add(d.file, o.where("apiVersion"), "apiVersion", "must be %s, not %s", APIVersion, quoted(h.APIVersion))
	}
	p.metadata(o, kind, known, sound)
	p.once(o)
	return o, len(p.faults.list) == before
}

// head reads all of a document but its spec, which it returns.
func (p *parser) head(d *decoder, n *yaml.Node, h *head) (spec *yaml.Node) {
	top := *n
	top.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Value == "spec" && spec == nil {
			spec = value
			continue
		}
		if key.Kind == yaml.ScalarNode && key.Value == "spec" {
			d.fault(key, "spec", "is given twice; the first is on line %d", spec.Line)
			continue
		}
		top.Content = append(top.Content, key, value)
	}
	d.decodeStruct(&top, reflect.ValueOf(h).Elem(), "", 0)
	return spec
}

func (p *parser) spec(d *decoder, doc, n *yaml.Node, into any) {
	out := reflect.ValueOf(into).Elem()
	if n == nil || null(follow(n)) {
		if needed(out.Type()) {
			d.fault(doc, "spec", "is missing")
		}
		return
	}
	d.decode(n, out, "spec", 1)
}

// metadata checks what the types do not say. sound says that reading the metadata found nothing.
func (p *parser) metadata(o Object, kind Kind, known, sound bool) {
	fault := func(path, format string, args ...any) {
		p.faults.add(o.file, o.where(path), path, format, args...)
	}
	const form = "must be 1 to 63 of a–z, 0–9 and '-', with no '-' at either end, not %s"
	if name := o.Metadata.Name; name != "" && omni.CheckName("name", name) != nil {
		fault("metadata.name", form, quoted(name))
	} else if _, given := o.at["metadata.name"]; given && name == "" && sound {
		fault("metadata.name", form, quoted(name))
	}
	tenant := o.Metadata.Tenant
	switch {
	case tenant != "" && omni.CheckName("tenant", tenant) != nil:
		fault("metadata.tenant", form, quoted(tenant))
	case known && kind.Tenanted && tenant == "":
		fault("metadata.tenant", "is missing: a %s belongs to a tenant", kind.Name)
	case known && !kind.Tenanted && tenant != "":
		fault("metadata.tenant", "must be left out: a %s belongs to the platform", kind.Name)
	}
	if len(o.Metadata.Labels) > maxLabels {
		fault("metadata.labels", "has %d pairs; at most %d are allowed", len(o.Metadata.Labels), maxLabels)
	}
	for key, value := range o.Metadata.Labels {
		if len(key) > omni.MaxName || len(value) > 256 {
			fault("metadata.labels."+key, "is too long: a key has at most 63 bytes, a value 256")
		}
	}
}

// once refuses the same object twice.
func (p *parser) once(o Object) {
	if o.Kind == "" || o.Metadata.Name == "" {
		return
	}
	id := identity{o.Kind, o.Metadata.Tenant, o.Metadata.Name}
	if first, twice := p.seen[id]; twice {
		p.faults.add(o.file, o.where("metadata.name"), "metadata.name", "%s is there already, at %s:%d", o, first.file, first.line)
		return
	}
	p.seen[id] = place{o.file, o.where("").line}
}
