package omnicloud_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/pflag"

	"github.com/omnicloud/omnicloud/pkg/daemon"
)

// load reads docker-compose.yml as docker compose would.
func load(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"docker-compose.yml"}, cli.WithName("omnicloud"), cli.WithEnv(nil))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeHasEveryPartAndStartsItInOrder(t *testing.T) {
	project := load(t)
	for _, name := range []string{
		"postgres-infra", "postgres-tenants", "postgres-billing", "postgres-audit", "etcd", "vault", "kafka", "redis", "consul", "minio",
		"omnid-1", "omnid-2",
	} {
		service, err := project.GetService(name)
		if err != nil {
			t.Errorf("%s is missing: %v", name, err)
			continue
		}
		if service.HealthCheck == nil || len(service.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
	}
	first, err := project.GetService("omnid-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, needed := range []string{"postgres-infra", "postgres-tenants", "postgres-billing", "postgres-audit", "etcd"} {
		if first.DependsOn[needed].Condition != types.ServiceConditionHealthy {
			t.Errorf("omnid-1 does not wait until %s is healthy", needed)
		}
	}
	second, err := project.GetService("omnid-2")
	if err != nil {
		t.Fatal(err)
	}
	if second.DependsOn["omnid-1"].Condition != types.ServiceConditionHealthy {
		t.Error("omnid-2 does not wait until omnid-1 is healthy")
	}
}

func TestComposeConfiguresOmnidWithWhatItTakes(t *testing.T) {
	project := load(t)
	dirs := map[string]bool{}
	for _, name := range []string{"omnid-1", "omnid-2"} {
		service, err := project.GetService(name)
		if err != nil {
			t.Fatal(err)
		}
		var environ []string
		for key, value := range service.Environment {
			if value == nil {
				t.Errorf("%s: %s has no value", name, key)
				continue
			}
			environ = append(environ, key+"="+*value)
		}
		flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
		daemon.Flags(flags)
		config, _, err := daemon.Load(flags, environ)
		if err != nil {
			t.Fatalf("%s: omnid refuses its environment: %v", name, err)
		}
		if dirs[config.DataDir] {
			t.Errorf("%s shares its data directory %s with another replica", name, config.DataDir)
		}
		dirs[config.DataDir] = true
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %s beyond loopback", name, port.Published)
			}
		}
	}
}

func TestDockerfileBuildsBothPrograms(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	builds := slices.ContainsFunc(lines, func(l string) bool {
		return strings.Contains(l, "go build") && strings.Contains(l, "./cmd/omnid") && strings.Contains(l, "./cmd/omnictl")
	})
	if !builds {
		t.Error("the Dockerfile does not build both programs")
	}
}
