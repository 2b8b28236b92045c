// Command registry is the registry of scans' sandboxes and hands out their
// sources, as a service of its own.
package main

import (
	"os"

	"github.com/falconer-sec/falconer/pkg/registry/depot"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.MainHTTP(depot.Name, depot.Service, depot.Listen(os.Getenv)) }
