// Command omnictl is the client of OmniCloud.
package main

import (
	"os"

	"github.com/omnicloud/omnicloud/pkg/cli"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(cli.Main(version, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
