package shop

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// The regions, as the manifests name them. East is active at first.
const (
	East = "us-east-1"
	West = "eu-west-1"
)

// The processes of a region.
const (
	DB  = "db"
	App = "app"
	LB  = "lb"
)

// Names lists the processes of a region in the order in which they start.
func Names() []string { return []string{DB, App, LB} }

// ports are the ports of each process, the same in every region: where it serves, and where it is controlled (and, for the
// database, replicated from).
var ports = map[string]struct{ serve, control int }{
	LB:  {7400, 7410},
	DB:  {7401, 7411},
	App: {7402, 7412},
}

// LBPort is where clients find the load balancer, in every region.
const LBPort = 7400

// Bounds of the configuration.
const (
	DefaultGrace  = 2 * time.Second
	minGrace      = 200 * time.Millisecond
	maxGrace      = time.Minute
	maxConfig     = 64 << 10 // bytes of shop.json
	configFile    = "shop.json"
	maxCommandLen = 64
)

// Config is DIR/shop.json: what every process and the agent must know. Only its owner may read it, since it holds the secret.
type Config struct {
	Regions []Region `json:"regions"` // exactly two
	Command []string `json:"command"` // how the agent starts a process: followed by "db", "app" or "lb"
	Secret  string   `json:"secret"`  // guards the control ports
	GraceMS int64    `json:"grace_ms"`
	Owner   *Process `json:"owner,omitempty"` // processes end when this one has; nil: they stay

	dir string
}

// Region is where a set of three processes runs, and what they are when they start for the first time.
type Region struct {
	Name    string `json:"name"`
	Address string `json:"address"` // an IP address
	Role    Role   `json:"role"`    // active or standby
}

// Options are what Setup needs to know. Addresses default to 127.0.10.1 and 127.0.20.1.
type Options struct {
	East, West string        // IP addresses
	Command    []string      // how to start this program, such as ["/usr/bin/shop"] or ["omnictl", "shop"]
	Grace      time.Duration // how long the active database waits for a silent standby; 200ms to 1m, default 2s
	Owner      int           // a process id: the shop's processes end when it has; 0: they stay
}

// Setup writes dir/shop.json and refuses a directory that has one.
func Setup(dir string, o Options) (*Config, error) {
	c := &Config{
		Regions: []Region{
			{Name: East, Address: orDefault(o.East, EastAddress), Role: Active},
			{Name: West, Address: orDefault(o.West, WestAddress), Role: Standby},
		},
		Command: o.Command,
		Secret:  rand.Text(),
		GraceMS: o.Grace.Milliseconds(),
		dir:     dir,
	}
	if o.Grace == 0 {
		c.GraceMS = DefaultGrace.Milliseconds()
	}
	if o.Owner != 0 {
		started, alive := processStarted(o.Owner)
		if !alive {
			return nil, fmt.Errorf("the owner, process %d, does not run", o.Owner)
		}
		c.Owner = &Process{PID: o.Owner, Started: started}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the shop's directory: %w", err)
	}
	path := filepath.Join(dir, configFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is there already: use it, or give another directory", path)
	}
	return c, writeJSON(path, c)
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// Load reads dir/shop.json.
func Load(dir string) (*Config, error) {
	c := &Config{}
	if err := readJSON(filepath.Join(dir, configFile), maxConfig, c); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is not a shop's directory: make it one with `shop init --dir %s`", dir, dir)
		}
		return nil, err
	}
	c.dir = dir
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, configFile), err)
	}
	return c, nil
}

var regionForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// check says what is wrong with the configuration.
func (c *Config) check() error {
	if len(c.Regions) != 2 || c.Regions[0].Name == c.Regions[1].Name || c.Regions[0].Address == c.Regions[1].Address {
		return errors.New("regions: there must be two, with names and addresses of their own")
	}
	for i, r := range c.Regions {
		if !regionForm.MatchString(r.Name) {
			return fmt.Errorf("regions[%d].name: %q is not a name: use a–z, 0–9 and '-'", i, r.Name)
		}
		if _, err := netip.ParseAddr(r.Address); err != nil {
			return fmt.Errorf("regions[%d].address: %q is not an IP address", i, r.Address)
		}
		if r.Role != Active && r.Role != Standby {
			return fmt.Errorf("regions[%d].role: must be active or standby, not %q", i, r.Role)
		}
	}
	if g := c.grace(); g < minGrace || g > maxGrace {
		return fmt.Errorf("grace_ms: must be from %d to %d", minGrace.Milliseconds(), maxGrace.Milliseconds())
	}
	if len(c.Command) == 0 || len(c.Command) > maxCommandLen || slices.Contains(c.Command, "") {
		return errors.New("command: must be the program and its arguments, none of them empty")
	}
	if c.Secret == "" {
		return errors.New("secret: must not be empty")
	}
	return nil
}

func (c *Config) grace() time.Duration { return time.Duration(c.GraceMS) * time.Millisecond }

// region finds a region by its name.
func (c *Config) region(name string) (Region, error) {
	for _, r := range c.Regions {
		if r.Name == name {
			return r, nil
		}
	}
	return Region{}, fmt.Errorf("there is no region %q: use %s or %s", name, c.Regions[0].Name, c.Regions[1].Name)
}

// peer is the other region.
func (c *Config) peer(name string) Region {
	if c.Regions[0].Name == name {
		return c.Regions[1]
	}
	return c.Regions[0]
}

// home is the directory of one process.
func (c *Config) home(region, name string) home {
	return home{path: filepath.Join(c.dir, region, name)}
}

func (r Region) serve(name string) string   { return hostPort(r.Address, ports[name].serve) }
func (r Region) control(name string) string { return hostPort(r.Address, ports[name].control) }

func hostPort(host string, port int) string {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host + ":" + strconv.Itoa(port) // check has refused it already
	}
	return netip.AddrPortFrom(addr, uint16(port)).String()
}

// readJSON reads a file of at most limit bytes and refuses unknown fields.
func readJSON(path string, limit int64, into any) error {
	f, err := os.Open(path) //nolint:gosec // the path is of the user's own directory
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := decodeStrict(f, limit, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON puts a file in place at once: whoever reads it sees the old one or the new one, also after a power cut.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() //nolint:gosec // a name that was made here
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path) //nolint:gosec // the path is of the user's own directory
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // the path is of the user's own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
