// Command reporter tells what scans came to, as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.Main(reporter.Name, reporter.Service) }
