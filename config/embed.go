// Package config holds the configuration that ships inside the binary. Files
// are embedded as they are: what a cluster mounts is what the laptop runs.
package config

import "embed"

// Falco holds the detection rules, falco/*.yaml: Falco's rule language, loaded
// by pkg/falco/rules and by real Falco (0.40 and later) alike.
//
//go:embed falco/*.yaml
var Falco embed.FS
