// Command correlator runs the correlator as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.Main(correlator.Name, correlator.Service) }
