package event

// Types returns the types of all events that flow through a broker, in the
// order of the event table.
func Types() []string {
	return []string{
		RepoPush, RepoMergeRequest, ScanRequested, ScanStarted, FalcoAlert, SandboxExited,
		ScanFinished, ScanAmended, ScanRejected, RuntimeAlert, SensorReported,
	}
}
