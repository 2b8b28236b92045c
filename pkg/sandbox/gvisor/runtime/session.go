package runtime

import "encoding/json"

// sinkConfig is a sink in a trace session.
type sinkConfig struct {
	Name             string `json:"name"`
	Config           any    `json:"config"`
	IgnoreSetupError bool   `json:"ignore_setup_error,omitempty"`
}

// Session returns the pod-init-config file that makes gVisor report to the
// sensor: every point of ours, and the life cycle of processes. relay is nil
// for a sandbox that reaches no registry, hole for one without a network beside
// its loopback.
func Session(o Options, relay *RelayOptions, hole *SinkholeOptions) ([]byte, error) {
	sinks := []sinkConfig{{Name: SinkName, Config: o}}
	if relay != nil {
		sinks = append(sinks, sinkConfig{Name: RelayName, Config: relay})
	}
	if hole != nil {
		sinks = append(sinks, sinkConfig{Name: SinkholeName, Config: hole})
	}
	if o.Guise != nil {
		sinks = append(sinks, sinkConfig{Name: GuiseName, Config: o.Guise})
	}
	return session(contextFields, sinks)
}

// session encodes a trace session of all our points, with a context of these
// fields.
func session(context []string, sinks []sinkConfig) ([]byte, error) {
	type pointConfig struct {
		Name     string   `json:"name"`
		Optional []string `json:"optional_fields,omitempty"`
		Context  []string `json:"context_fields"`
	}
	withCwd := append([]string{"cwd"}, context...)
	all := []pointConfig{
		{Name: "container/start", Optional: []string{"env"}, Context: context},
		{Name: "sentry/clone", Context: context},
		{Name: "sentry/task_exit", Context: context},
		{Name: "sentry/execve", Optional: []string{"binary_info", "fd_info"}, Context: withCwd},
	}
	for _, p := range observed() {
		all = append(all, pointConfig{Name: p.PointName(), Context: context})
	}
	return json.MarshalIndent(map[string]any{"trace_session": map[string]any{
		"name":   "Default",
		"points": all,
		"sinks":  sinks,
	}}, "", "  ")
}
