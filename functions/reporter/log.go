package reporter

import (
	"context"
	"log/slog"
)

// Log notes verdicts and rejections in a log.
type Log struct{ log *slog.Logger }

var _ Sink = Log{}

// NewLog returns a sink that writes to log.
func NewLog(log *slog.Logger) Log { return Log{log} }

// Name implements Sink.
func (Log) Name() string { return "log" }

// Deliver implements Sink.
func (l Log) Deliver(_ context.Context, r Report) error {
	if r.Result != nil {
		l.log.Info("scan ended", "scan_id", r.Result.ScanID, "project", r.Result.Project, "root", r.Result.Root, "verdict", r.Result.Verdict,
			"revision", r.Result.Revision, "findings", len(r.Result.Findings), "alerts", r.Result.Counts.Alerts)
	} else {
		l.log.Warn("scan rejected", "scan_id", r.Rejected.ScanID, "project", r.Rejected.Project, "reason", r.Rejected.Reason)
	}
	return nil
}
