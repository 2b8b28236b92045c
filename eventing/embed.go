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

// ClusterOnly lists the functions that only a cluster has: an embedded broker
// leaves out the Triggers that deliver to them (trigger.Set.Without).
func ClusterOnly() []string { return []string{"jobwatch"} }
