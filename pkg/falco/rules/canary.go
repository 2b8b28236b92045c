package rules

import (
	_ "embed" // the rules
	"slices"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

//go:embed canary_rules.yaml
var canaryRules string

// CanaryRules are the rules on planted credentials, for sources that know them:
// they use falconer.canary, which real Falco refuses.
func CanaryRules() File { return File{Name: "canary_rules.yaml", Data: []byte(canaryRules)} }

// carriers are calls that the sensor reports when a canary leaves with them.
var carriers = []string{"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "splice", "copy_file_range",
	record.KindHeard}

// withCarriers adds the carriers that are not in a list of event types.
func withCarriers(types []string) []string {
	for _, t := range carriers {
		if !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}
