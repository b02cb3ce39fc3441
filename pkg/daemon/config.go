package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Config is everything that omnid can be told. It is read once, from flag > environment > file > default.
type Config struct {
	DataDir       string
	KeyDir        string
	Listen        string
	MetricsListen string
	DNSListen     string

	DatabaseURL       string
	InfraURL          string
	TenantsURL        string
	BillingURL        string
	AuditURL          string
	SQLiteSynchronous string
	EtcdEndpoints     []string
	LeaseTTL          time.Duration
	ReplicaName       string
	TLSCert           string
	TLSKey            string
	TLSClientCA       string
	Insecure          bool
	TrustedProxies    []string
	RatePerSecond     int
	RateBurst         int
	MaxRuns           int
	MaxRunsPerHour    int
	LogLevel          string
	TraceEndpoint     string
	TraceFile         string
	DrainTimeout      time.Duration
}

// setting is one thing that omnid can be told: its key in the file, the flag and the environment variable made from it,
// its default and what it means.
type setting struct {
	key   string
	value any // the default; its type is the setting's type
	usage string
	bind  func(c *Config, v *viper.Viper, key string)
}

func text(field func(*Config) *string) func(*Config, *viper.Viper, string) {
	return func(c *Config, v *viper.Viper, key string) { *field(c) = v.GetString(key) }
}

func list(field func(*Config) *[]string) func(*Config, *viper.Viper, string) {
	return func(c *Config, v *viper.Viper, key string) {
		for _, part := range v.GetStringSlice(key) {
			for item := range strings.SplitSeq(part, ",") {
				if item = strings.TrimSpace(item); item != "" {
					*field(c) = append(*field(c), item)
				}
			}
		}
	}
}

func duration(field func(*Config) *time.Duration) func(*Config, *viper.Viper, string) {
	return func(c *Config, v *viper.Viper, key string) { *field(c) = v.GetDuration(key) }
}

func integer(field func(*Config) *int) func(*Config, *viper.Viper, string) {
	return func(c *Config, v *viper.Viper, key string) { *field(c) = v.GetInt(key) }
}

// settings is the one list of them. Flags replace "." by "-", variables "." and "-" by "_".
func settings() []setting {
	return []setting{
		{"data-dir", "./omni-data", "directory of SQLite files, embedded etcd, keys and admin.token", text(func(c *Config) *string { return &c.DataDir })},
		{"key-dir", "", "directory of auth.pepper, audit.key and admin.token, shared by replicas; default: the data directory", text(func(c *Config) *string { return &c.KeyDir })},
		{"listen", "127.0.0.1:8000", "address of the gateway: REST, events, health", text(func(c *Config) *string { return &c.Listen })},
		{"metrics-listen", "127.0.0.1:9464", "address of the Prometheus metrics", text(func(c *Config) *string { return &c.MetricsListen })},
		{"dns-listen", "127.0.0.1:8053", "address of the authoritative DNS server, UDP and TCP", text(func(c *Config) *string { return &c.DNSListen })},
		{"database-url", "", "one PostgreSQL for all four databases (postgres://…); without it, SQLite files", text(func(c *Config) *string { return &c.DatabaseURL })},
		{"database-infra-url", "", "PostgreSQL of the infra database", text(func(c *Config) *string { return &c.InfraURL })},
		{"database-tenants-url", "", "PostgreSQL of the tenants database", text(func(c *Config) *string { return &c.TenantsURL })},
		{"database-billing-url", "", "PostgreSQL of the billing database", text(func(c *Config) *string { return &c.BillingURL })},
		{"database-audit-url", "", "PostgreSQL of the audit database", text(func(c *Config) *string { return &c.AuditURL })},
		{"sqlite-synchronous", "full", "full or normal: whether each commit waits for the disk", text(func(c *Config) *string { return &c.SQLiteSynchronous })},
		{"etcd-endpoints", []string{}, "etcd members; without them, etcd runs in-process", list(func(c *Config) *[]string { return &c.EtcdEndpoints })},
		{"election.ttl", 5 * time.Second, "lease of the leader: how long after its death another may lead", duration(func(c *Config) *time.Duration { return &c.LeaseTTL })},
		{"replica-name", "", "name of this replica; default: the host's name and a random part", text(func(c *Config) *string { return &c.ReplicaName })},
		{"tls-cert", "", "certificate (PEM) of the gateway; needed beyond loopback", text(func(c *Config) *string { return &c.TLSCert })},
		{"tls-key", "", "its key (PEM)", text(func(c *Config) *string { return &c.TLSKey })},
		{"tls-client-ca", "", "CA (PEM) that client certificates must come from", text(func(c *Config) *string { return &c.TLSClientCA })},
		{"insecure", false, "listen beyond loopback without TLS", func(c *Config, v *viper.Viper, key string) { c.Insecure = v.GetBool(key) }},
		{"gateway.trusted-proxies", []string{}, "networks (CIDR) whose X-Forwarded-For counts", list(func(c *Config) *[]string { return &c.TrustedProxies })},
		{"gateway.rate-per-second", 200, "requests a second of one key or address", integer(func(c *Config) *int { return &c.RatePerSecond })},
		{"gateway.rate-burst", 400, "requests of one key or address at once", integer(func(c *Config) *int { return &c.RateBurst })},
		{"failover.max-concurrent", 10, "global brake: automatic runs alive at once", integer(func(c *Config) *int { return &c.MaxRuns })},
		{"failover.max-per-hour", 60, "global brake: automatic runs begun in an hour", integer(func(c *Config) *int { return &c.MaxRunsPerHour })},
		{"log-level", "info", "debug, info, warn or error", text(func(c *Config) *string { return &c.LogLevel })},
		{"trace-endpoint", "", "OTLP/HTTP endpoint for traces (http://host:4318)", text(func(c *Config) *string { return &c.TraceEndpoint })},
		{"trace-file", "", "file that spans are appended to as JSON lines, where there is no collector", text(func(c *Config) *string { return &c.TraceFile })},
		{"drain-timeout", 10 * time.Second, "how long requests may take to end at shutdown", duration(func(c *Config) *time.Duration { return &c.DrainTimeout })},
	}
}

// Flags declares a flag for every setting, and --config.
func Flags(fs *pflag.FlagSet) {
	fs.String("config", "", "configuration file (YAML); default: omnid.yaml in the current directory, if there is one")
	for _, s := range settings() {
		name, usage := flagName(s.key), s.usage+" ["+variable(s.key)+"]"
		switch value := s.value.(type) {
		case string:
			fs.String(name, value, usage)
		case []string:
			fs.StringSlice(name, value, usage)
		case bool:
			fs.Bool(name, value, usage)
		case int:
			fs.Int(name, value, usage)
		case time.Duration:
			fs.Duration(name, value, usage)
		}
	}
}

func flagName(key string) string { return strings.ReplaceAll(key, ".", "-") }

func variable(key string) string {
	return "OMNID_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// Origin says where a value came from.
type Origin struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"` // flag --x, environment X, file F, or default
}

// Load reads the configuration. The flags must be parsed. Unknown keys in the file and unknown OMNID_ variables are errors, since a
// misspelt setting would otherwise be silently without effect.
func Load(fs *pflag.FlagSet, environ []string) (Config, []Origin, error) {
	v := viper.NewWithOptions(viper.KeyDelimiter("\x00")) // keys hold dots of their own
	file, err := readFile(v, fs, environ)
	if err != nil {
		return Config{}, nil, err
	}
	fromFile, err := knownKeys(v, file)
	if err != nil {
		return Config{}, nil, err
	}
	env := map[string]string{}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, "OMNID_") {
			env[name] = value
		}
	}
	l := loader{v: v, flags: fs, env: env, file: file, fromFile: fromFile}
	var config Config
	var origins []Origin
	for _, s := range settings() {
		origin, err := l.read(s)
		if err != nil {
			return Config{}, nil, err
		}
		s.bind(&config, v, s.key)
		origins = append(origins, Origin{Key: s.key, Value: shown(s, v), Origin: origin})
	}
	for name := range env {
		if name != "OMNID_CONFIG" && name != "OMNID_FAILPOINT" {
			return Config{}, nil, omni.Errorf(omni.CodeInvalid, "environment variable %s: no such setting", name).
				WithHint("omnid config print lists the settings")
		}
	}
	if config.KeyDir == "" {
		config.KeyDir = config.DataDir
	}
	return config, origins, config.check()
}

// loader reads settings one by one; what is left in env at the end names no setting.
type loader struct {
	v        *viper.Viper
	flags    *pflag.FlagSet
	env      map[string]string
	file     string
	fromFile map[string]bool
}

// read sets one setting in viper and says where its value comes from.
func (l loader) read(s setting) (origin string, err error) {
	l.v.SetDefault(s.key, s.value)
	origin = "default"
	if l.fromFile[s.key] {
		origin = "file " + l.file
	}
	if value, ok := l.env[variable(s.key)]; ok {
		if err := fits(s, value); err != nil {
			return "", omni.Errorf(omni.CodeInvalid, "environment variable %s: %w", variable(s.key), err)
		}
		l.v.Set(s.key, value)
		origin = "environment " + variable(s.key)
		delete(l.env, variable(s.key))
	}
	if flag := l.flags.Lookup(flagName(s.key)); flag != nil && flag.Changed {
		value := any(flag.Value.String())
		if slice, ok := flag.Value.(pflag.SliceValue); ok {
			value = slice.GetSlice()
		}
		l.v.Set(s.key, value)
		origin = "flag --" + flagName(s.key)
	}
	return origin, nil
}

func readFile(v *viper.Viper, fs *pflag.FlagSet, environ []string) (string, error) {
	file, _ := fs.GetString("config")
	for _, pair := range environ {
		if value, ok := strings.CutPrefix(pair, "OMNID_CONFIG="); ok && file == "" {
			file = value
		}
	}
	if file == "" {
		if _, err := os.Stat("omnid.yaml"); errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		file = "omnid.yaml"
	}
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		return "", omni.Errorf(omni.CodeInvalid, "configuration file %s: %w", file, err)
	}
	return file, nil
}

// knownKeys flattens the file's keys, and refuses those that name no setting or whose value does not fit.
func knownKeys(v *viper.Viper, file string) (map[string]bool, error) {
	names := map[string]setting{}
	for _, s := range settings() {
		names[s.key] = s
	}
	found := map[string]bool{}
	var walk func(prefix string, tree map[string]any) error
	walk = func(prefix string, tree map[string]any) error {
		for key, value := range tree {
			full := strings.ReplaceAll(prefix+key, "_", "-")
			below, isTree := value.(map[string]any)
			s, known := names[full]
			switch {
			case isTree:
				if err := walk(full+".", below); err != nil {
					return err
				}
			case known:
				if err := fitsInFile(s, value); err != nil {
					return omni.Errorf(omni.CodeInvalid, "configuration file %s: %s: %w", file, prefix+key, err)
				}
				found[full] = true
				v.Set(full, value)
			default:
				return omni.Errorf(omni.CodeInvalid, "configuration file %s: no setting is called %q", file, prefix+key).
					WithHint("omnid config print lists the settings")
			}
		}
		return nil
	}
	return found, walk("", v.AllSettings())
}

// fits refuses a text that is not of the setting's type, which viper would read as zero.
func fits(s setting, value string) error {
	probe := pflag.NewFlagSet("", pflag.ContinueOnError)
	Flags(probe)
	if err := probe.Lookup(flagName(s.key)).Value.Set(value); err != nil {
		return fmt.Errorf("%q does not fit: %w", value, err)
	}
	return nil
}

// fitsInFile is fits for a value of the file, where lists may be written as such.
func fitsInFile(s setting, value any) error {
	list, isList := value.([]any)
	_, wanted := s.value.([]string)
	if !isList {
		return fits(s, fmt.Sprint(value))
	}
	if !wanted {
		return errors.New("takes one value, not a list")
	}
	for _, item := range list {
		if err := fits(s, fmt.Sprint(item)); err != nil {
			return err
		}
	}
	return nil
}

// passwords finds those of a connection string of PostgreSQL, whether it is a URL or a list of key=value.
var passwords = regexp.MustCompile(`(?i)((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)`)

// shown hides passwords in what is printed.
func shown(s setting, v *viper.Viper) any {
	value := v.Get(s.key)
	if address, ok := value.(string); ok && strings.HasSuffix(s.key, "url") {
		at, scheme := strings.LastIndex(address, "@"), strings.Index(address, "://")
		if at >= 0 && scheme >= 0 && scheme < at {
			address = address[:scheme+3] + "…" + address[at:]
		}
		return passwords.ReplaceAllString(address, "${1}…")
	}
	if d, ok := value.(time.Duration); ok {
		return d.String()
	}
	return value
}

// check refuses what cannot work, naming the setting.
func (c Config) check() error {
	if c.DataDir == "" {
		return omni.Errorf(omni.CodeInvalid, "data-dir: must not be empty")
	}
	for _, part := range []func() error{c.checkAddresses, c.checkTLS, c.checkWords, c.checkBounds} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkAddresses() error {
	for _, a := range []struct{ key, value string }{{"listen", c.Listen}, {"metrics-listen", c.MetricsListen}, {"dns-listen", c.DNSListen}} {
		if _, _, err := net.SplitHostPort(a.value); err != nil {
			return omni.Errorf(omni.CodeInvalid, "%s: %q is not HOST:PORT", a.key, a.value)
		}
	}
	for _, network := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(network); err != nil {
			return omni.Errorf(omni.CodeInvalid, "gateway.trusted-proxies: %q is not a network such as 10.0.0.0/8", network)
		}
	}
	return nil
}

func (c Config) checkTLS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return omni.Errorf(omni.CodeInvalid, "tls-cert and tls-key go together: give both or neither")
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		return omni.Errorf(omni.CodeInvalid, "tls-client-ca: without tls-cert and tls-key nobody is asked for a certificate").
			WithHint("give --tls-cert and --tls-key too")
	}
	if c.TLSCert == "" && !c.Insecure && !loopback(c.Listen) {
		return omni.Errorf(omni.CodeInvalid, "listen: %s is reachable from outside, and there is no TLS", c.Listen).
			WithHint("give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure")
	}
	return nil
}

func (c Config) checkWords() error {
	if !slices.Contains([]string{"full", "normal"}, c.SQLiteSynchronous) {
		return omni.Errorf(omni.CodeInvalid, "sqlite-synchronous: %q is neither full nor normal", c.SQLiteSynchronous)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		return omni.Errorf(omni.CodeInvalid, "log-level: %q is none of debug, info, warn, error", c.LogLevel)
	}
	return nil
}

func (c Config) checkBounds() error {
	if c.LeaseTTL < 2*time.Second || c.LeaseTTL > time.Minute {
		return omni.Errorf(omni.CodeInvalid, "election.ttl: %s is not within 2s and 1m", c.LeaseTTL)
	}
	if c.DrainTimeout < 0 {
		return omni.Errorf(omni.CodeInvalid, "drain-timeout: %s is negative", c.DrainTimeout)
	}
	if c.MaxRuns < 1 || c.MaxRunsPerHour < 1 {
		return omni.Errorf(omni.CodeInvalid, "failover.max-concurrent and failover.max-per-hour must be 1 or more").
			WithHint("to stop automatic runs altogether: omnictl failover freeze")
	}
	if c.RatePerSecond <= 0 || c.RateBurst < 1 {
		return omni.Errorf(omni.CodeInvalid, "gateway.rate-per-second and gateway.rate-burst must be above 0")
	}
	return nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// String is for messages; it shows no secret.
func (o Origin) String() string { return fmt.Sprintf("%s = %v (%s)", o.Key, o.Value, o.Origin) }
