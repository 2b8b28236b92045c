// Command deadletter runs the dead-letter function as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.Main(deadletter.Name, deadletter.Service) }
