// Command jobwatch tells how scans' Jobs end, as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/jobwatch"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.Main(jobwatch.Name, jobwatch.Service) }
