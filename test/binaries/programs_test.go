// Package binaries_test builds every function's program as its image has it,
// and runs it: what it needs, what it answers, how it ends, what it weighs.
package binaries_test

import (
	"os"
	"path/filepath"
	"slices"
)

// maxSize is what a function may weigh that links neither a Kubernetes client
// nor a sandbox's kernel, in bytes.
const maxSize = 16_000_000

// podOnly is why a program is run in a cluster only.
const podOnly = "it looks for the files of its pod's service account, at a path that is the same everywhere"

const token = "a-token-of-this-test"

// program is one function's program.
type program struct {
	needs []string          // variables without which it refuses to start
	env   map[string]string // further ones
	heavy string            // why maxSize does not count
	apart string            // why it is not started here
}

// programs lists what functions/*/cmd has; a test holds it against the folders.
func programs() map[string]program {
	return map[string]program{
		"api":        {needs: []string{"NATS_URL", "K_SINK", "FALCONER_API_TOKEN"}},
		"correlator": {needs: []string{"NATS_URL", "K_SINK"}},
		"deadletter": {needs: []string{"NATS_URL", "K_SINK"}},
		"falcogate":  {needs: []string{"NATS_URL", "K_SINK"}},
		"gitlabhook": {needs: []string{"K_SINK", "FALCONER_GITLAB_WEBHOOK_TOKEN"}},
		"jobwatch":   {heavy: "a Kubernetes client is in it", apart: podOnly},
		"planner":    {needs: []string{"NATS_URL", "K_SINK", "FALCONER_SOURCE_DIR"}},
		"reporter":   {env: map[string]string{"FALCONER_RESULTS_DIR": filepath.Join(rig.dir, "results")}},
		"runner": {needs: []string{"NATS_URL", "K_SINK", "FALCONER_SANDBOX_IMAGE", "FALCONER_SANDBOX_STAGE_IMAGE", "FALCONER_SANDBOX_SENSOR",
			"FALCONER_REGISTRY_URL", "FALCONER_SCAN_KEY_FILE"}, env: map[string]string{"FALCONER_KUBERNETES_URL": rig.sink.URL}, heavy: "a Kubernetes client is in it"},
		"sensor": {heavy: "a Kubernetes client is in it", apart: podOnly},
	}
}

// environment is what a program is started with, without the variables named.
func (p program) environment(without ...string) []string {
	all := map[string]string{"NATS_URL": rig.nats, "K_SINK": rig.sink.URL, "FALCONER_API_TOKEN": token,
		"FALCONER_GITLAB_WEBHOOK_TOKEN": token, "FALCONER_SOURCE_DIR": filepath.Join(rig.dir, "sources"),
		"FALCONER_SANDBOX_IMAGE": "npm:v1", "FALCONER_SANDBOX_STAGE_IMAGE": "stage:v1", "FALCONER_SANDBOX_SENSOR": "falco",
		"FALCONER_REGISTRY_URL": "http://192.0.2.7:4873", "FALCONER_SCAN_KEY_FILE": filepath.Join(rig.dir, "key")}
	env := []string{"PORT=0", "PATH=" + os.Getenv("PATH"), "HOME=" + rig.dir, "TMPDIR=" + os.TempDir()}
	for _, name := range p.needs {
		if !slices.Contains(without, name) {
			env = append(env, name+"="+all[name])
		}
	}
	if !slices.Contains(p.needs, "K_SINK") {
		env = append(env, "K_SINK="+rig.sink.URL)
	}
	for name, value := range p.env {
		env = append(env, name+"="+value)
	}
	return env
}
