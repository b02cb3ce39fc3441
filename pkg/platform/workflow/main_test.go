package workflow_test

import (
	"os"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("OMNI_TEST_VICTIM"); dir != "" { // this process was started by TestKill
		os.Exit(victim(dir))
	}
	databasetest.Main(m)
}
