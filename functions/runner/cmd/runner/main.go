// Command runner starts requested scans as Kubernetes Jobs.
package main

import (
	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/functions/runner/jobs"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.Main(runner.Name, jobs.Service) }
