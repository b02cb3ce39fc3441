package config_test

import (
	"testing"

	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }
