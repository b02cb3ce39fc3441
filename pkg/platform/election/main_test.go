package election_test

import (
	"os"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

func TestMain(m *testing.M) {
	if os.Getenv("OMNI_TEST_LEADER") != "" { // this process was started by TestFrozenLeader
		os.Exit(leader())
	}
	if dir := os.Getenv("OMNI_TEST_OPEN"); dir != "" { // this process was started by TestEmbedded
		os.Exit(opener(dir))
	}
	databasetest.Main(m)
}
