// Command gitlabhook takes GitLab's webhooks, as a service of its own.
package main

import (
	"github.com/falconer-sec/falconer/functions/gitlabhook"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func main() { serve.MainHTTP(gitlabhook.Name, gitlabhook.Service) }
