// Command planner plans the scans of pushes, as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.Main(planner.Name, planner.Service) }
