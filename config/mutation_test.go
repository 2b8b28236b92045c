package config_test

import (
	"strings"
	"testing"
)

// TestChecksCanFail spoils what is deployed, one thing at a time: every check has
// to notice.
func TestChecksCanFail(t *testing.T) {
	good := string(render(t, "nats"))
	tests := map[string]struct{ old, new, want string }{
		"an unknown field":                 {"containerConcurrency:", "containerConcurency:", "containerConcurency"},
		"an unknown kind":                  {"kind: PodDisruptionBudget", "kind: PodDisruptionBugdet", "no kind"},
		"what Knative refuses":             {"containerConcurrency: 20", "containerConcurrency: -1", "containerConcurrency"},
		"a scale that is no number":        {`autoscaling.knative.dev/max-scale: "1"`, `autoscaling.knative.dev/max-scale: one`, "max-scale"},
		"capabilities in lower case":       {"- ALL", "- all", "not restricted"},
		"a privileged pod":                 {"allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "not restricted"},
		"no seccomp profile":               {"type: RuntimeDefault", "type: Unconfined", "not restricted"},
		"root":                             {"runAsNonRoot: true", "runAsNonRoot: false", "not restricted"},
		"a root to write to":               {"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "can be written to"},
		"a namespace that enforces less":   {"pod-security.kubernetes.io/enforce: restricted", "pod-security.kubernetes.io/enforce: baseline", `enforces "baseline"`},
		"a token where none is needed":     {"automountServiceAccountToken: false", "automountServiceAccountToken: true", "a token of"},
		"an account that is missing":       {"serviceAccountName: planner", "serviceAccountName: planer", "no account falconer/planer"},
		"an account of another function":   {"serviceAccountName: planner", "serviceAccountName: reporter", "not its own"},
		"a right to everything":            {"- pods/log", "- '*'", "wildcard"},
		"a right to Secrets":               {"- pods/log", "- secrets", "reads Secrets"},
		"rights in the whole cluster":      {"kind: Role\n", "kind: ClusterRole\n", "whole cluster"},
		"a binding to nobody":              {"subjects:\n- kind: ServiceAccount\n  name: runner", "subjects:\n- kind: ServiceAccount\n  name: rumner", "no account falconer/rumner"},
		"an image from anywhere":           {"image: ko://github.com/nats-io/nats-server/v2", "image: nats:2", "neither built here nor given by digest"},
		"no delivery block":                {"  delivery:\n", "  deliveri:\n", "deliveri"},
		"a delivery without a timeout":     {"    timeout: PT5M\n", "", "lacks a retry"},
		"a subscriber that is no function": {"      kind: Service\n      name: planner", "      kind: Service\n      name: planer", "subscriber is no function"},
		"a function without dead letters":  {"        kind: Service\n        name: deadletter", "        kind: Service\n        name: undertaker", "dead-letter sink is no function"},
		"no probe":                         {"livenessProbe:\n          httpGet:\n            path: /healthz\n            port: admin", "startupProbe:\n          httpGet:\n            path: /healthz\n            port: admin", "a probe is missing"},
		"no limit":                         {"          limits:\n            memory: 256Mi\n", "", "resources are missing"},
		"a public function":                {"networking.knative.dev/visibility: cluster-local", "networking.knative.dev/visibility: public", "visibility"},
		"a gate at zero":                   {`autoscaling.knative.dev/min-scale: "1"`, `autoscaling.knative.dev/min-scale: "0"`, "min-scale"},
		"a variable set twice":             {"name: NATS_USER", "name: NATS_URL", "is set 2 times"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			spoiled := strings.ReplaceAll(good, tc.old, tc.new)
			if spoiled == good {
				t.Fatalf("there is no %q to spoil", tc.old)
			}
			all, err := decode([]byte(spoiled))
			problems := check(t.Context(), all)
			if err != nil {
				problems = append(problems, err.Error())
			}
			if !strings.Contains(strings.Join(problems, "\n"), tc.want) {
				t.Errorf("not noticed; instead: %q", problems)
			}
		})
	}
}
