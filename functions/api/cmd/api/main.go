// Command api serves the scan API, as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/api"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.MainHTTP(api.Name, api.Service) }
