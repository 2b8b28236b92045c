// Package eventing holds the topology: who hears what. The YAML files are
// Knative resources, untemplated; a cluster applies them as they are and the
// embedded broker reads the very same bytes through FS.
package eventing

import "embed"

// FS holds the topology's files.
//
//go:embed *.yaml
var FS embed.FS

// Namespace and Broker name the broker that all Triggers belong to.
const (
	Namespace = "falconer"
	Broker    = "default"
)
