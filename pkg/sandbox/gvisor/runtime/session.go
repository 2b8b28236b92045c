package runtime

import "encoding/json"

// Session returns the pod-init-config file that makes gVisor report to the
// sensor: every point of ours, and the life cycle of processes. relay is nil
// for a sandbox without any way out.
func Session(o Options, relay *RelayOptions) ([]byte, error) {
	type pointConfig struct {
		Name     string   `json:"name"`
		Optional []string `json:"optional_fields,omitempty"`
		Context  []string `json:"context_fields"`
	}
	withCwd := append([]string{"cwd"}, contextFields...)
	all := []pointConfig{
		{Name: "container/start", Context: contextFields},
		{Name: "sentry/clone", Context: contextFields},
		{Name: "sentry/task_exit", Context: contextFields},
		{Name: "sentry/execve", Optional: []string{"binary_info", "fd_info"}, Context: withCwd},
	}
	for _, p := range points {
		all = append(all, pointConfig{Name: p.PointName(), Context: contextFields})
	}
	type sinkConfig struct {
		Name   string `json:"name"`
		Config any    `json:"config"`
	}
	sinks := []sinkConfig{{SinkName, o}}
	if relay != nil {
		sinks = append(sinks, sinkConfig{RelayName, relay})
	}
	return json.MarshalIndent(map[string]any{"trace_session": map[string]any{
		"name":   "Default",
		"points": all,
		"sinks":  sinks,
	}}, "", "  ")
}
