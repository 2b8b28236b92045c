// Command falcogate runs the gate for Falco's alerts as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/falcogate"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.Main(falcogate.Name, falcogate.Service) }
