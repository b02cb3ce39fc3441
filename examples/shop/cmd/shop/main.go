// Command shop is the small order shop that OmniCloud's demo moves between two regions.
package main

import (
	"os"

	"github.com/omnicloud/omnicloud/examples/shop"
)

func main() { os.Exit(shop.Main(os.Args[1:], os.Stdout, os.Stderr)) }
