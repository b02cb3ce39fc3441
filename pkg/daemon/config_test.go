package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/omnicloud/omnicloud/pkg/daemon"
)

// load reads a configuration from flags, environment and a file's text, in a directory of its own.
func load(t *testing.T, file string, environ []string, args ...string) (daemon.Config, []daemon.Origin, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if file != "" {
		if err := os.WriteFile("omnid.yaml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := pflag.NewFlagSet("omnid", pflag.ContinueOnError)
	daemon.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return daemon.Load(flags, environ)
}

func TestDefaultsListenOnLoopback(t *testing.T) {
	c, _, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := daemon.Config{Listen: "127.0.0.1:8000", MetricsListen: "127.0.0.1:9464", DNSListen: "127.0.0.1:8053", DataDir: "./omni-data"}
	if c.Listen != want.Listen || c.MetricsListen != want.MetricsListen || c.DNSListen != want.DNSListen || c.DataDir != want.DataDir {
		t.Errorf("got %+v", c)
	}
	if c.KeyDir != c.DataDir {
		t.Errorf("the key directory is %q, want the data directory", c.KeyDir)
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	file := "listen: 127.0.0.1:1\ndns-listen: 127.0.0.1:1\nmetrics-listen: 127.0.0.1:1\nelection:\n  ttl: 9s\netcd-endpoints: [a:1, b:2]\n"
	environ := []string{"OMNID_LISTEN=127.0.0.1:2", "OMNID_DNS_LISTEN=127.0.0.1:2", "PATH=/bin"}
	c, origins, err := load(t, file, environ, "--listen", "127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:3" || c.DNSListen != "127.0.0.1:2" || c.MetricsListen != "127.0.0.1:1" || c.LeaseTTL != 9*time.Second {
		t.Errorf("got %+v", c)
	}
	if strings.Join(c.EtcdEndpoints, " ") != "a:1 b:2" {
		t.Errorf("the endpoints are %v", c.EtcdEndpoints)
	}
	want := map[string]string{
		"listen": "flag --listen", "dns-listen": "environment OMNID_DNS_LISTEN", "metrics-listen": "file omnid.yaml",
		"election.ttl": "file omnid.yaml", "log-level": "default",
	}
	for _, o := range origins {
		if w, ok := want[o.Key]; ok && o.Origin != w {
			t.Errorf("%s comes from %q, want %q", o.Key, o.Origin, w)
		}
	}
}

func TestListsInTheEnvironmentAreCutAtCommas(t *testing.T) {
	c, _, err := load(t, "", []string{"OMNID_ETCD_ENDPOINTS=http://a:2379, http://b:2379"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(c.EtcdEndpoints, "|") != "http://a:2379|http://b:2379" {
		t.Errorf("the endpoints are %q", c.EtcdEndpoints)
	}
}

func TestWrongConfigurationsAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		environ []string
		args    []string
		want    string
	}{
		"unknown key":              {file: "listn: 127.0.0.1:1\n", want: `no setting is called "listn"`},
		"unknown nested key":       {file: "election: {ttll: 3s}\n", want: "election.ttll"},
		"unknown variable":         {environ: []string{"OMNID_LISTN=x"}, want: "OMNID_LISTN"},
		"variable of another type": {environ: []string{"OMNID_FAILOVER_MAX_CONCURRENT=many"}, want: "OMNID_FAILOVER_MAX_CONCURRENT"},
		"no YAML":                  {file: "listen: [", want: "omnid.yaml"},
		"missing file":             {args: []string{"--config", "nowhere.yaml"}, want: "nowhere.yaml"},
		"no port":                  {args: []string{"--listen", "localhost"}, want: "listen"},
		"beyond loopback":          {args: []string{"--listen", "0.0.0.0:8000"}, want: "no TLS"},
		"certificate without key":  {args: []string{"--tls-cert", "c.pem"}, want: "go together"},
		"lease too short":          {args: []string{"--election-ttl", "1s"}, want: "election.ttl"},
		"unknown level":            {args: []string{"--log-level", "loud"}, want: "log-level"},
		"brake of none":            {args: []string{"--failover-max-concurrent", "0"}, want: "freeze"},
		"duration of another type": {file: "drain-timeout: soon\n", want: "omnid.yaml: drain-timeout"},
		"duration without a unit":  {file: "election: {ttl: 9}\n", want: "omnid.yaml: election.ttl"},
		"switch of another type":   {file: "insecure: perhaps\nlisten: 0.0.0.0:1\n", want: "omnid.yaml: insecure"},
		"number of another type":   {file: "gateway:\n  rate_per_second: many\n", want: "omnid.yaml: gateway.rate_per_second"},
		"list of one":              {file: "listen: [127.0.0.1:1]\n", want: "not a list"},
		"clients without TLS":      {args: []string{"--tls-client-ca", "ca.pem"}, want: "tls-client-ca"},
		"drain of less than none":  {args: []string{"--drain-timeout", "-1s"}, want: "drain-timeout"},
		"no network":               {args: []string{"--gateway-trusted-proxies", "10.0.0.1"}, want: "trusted-proxies"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, c.file, c.environ, c.args...)
			if err == nil {
				t.Fatal("it was taken")
			}
			text := err.Error()
			if hint := hintOf(err); hint != "" {
				text += " " + hint
			}
			if !strings.Contains(text, c.want) {
				t.Errorf("the error does not name it: %s", text)
			}
		})
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	for _, url := range []string{
		"postgres://omni:hunter2@db:5432/omni", "postgres://omni:hun@hunter2@db:5432/omni", "postgres://db/omni?sslmode=require&password=hunter2",
		"postgres://db/omni?sslpassword=hunter2&user=a", "host=db password=hunter2 user=omni", "host=db PASSWORD = 'is hunter2' user=omni",
	} {
		_, origins, err := load(t, "", []string{"OMNID_DATABASE_AUDIT_URL=" + url})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range origins {
			if strings.Contains(o.String(), "hunter2") {
				t.Errorf("shown: %s", o)
			}
			if o.Key == "database-audit-url" && !strings.Contains(o.String(), "db") {
				t.Errorf("not even the host is shown: %s", o)
			}
		}
	}
}

func TestTheConfigurationFileCanBeNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(path, []byte("log-level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, "", []string{"OMNID_CONFIG=" + path})
	if err != nil || c.LogLevel != "debug" {
		t.Errorf("got %q, %v", c.LogLevel, err)
	}
}
