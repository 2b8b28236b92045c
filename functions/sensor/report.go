package sensor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/falconer-sec/falconer/pkg/event"
)

// maxOutlived bounds the command lines in a report.
const maxOutlived = 20

// How often a report is sent again, until the broker has it.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
)

func (s *Sensor) newReport(c Container) event.SensorReport {
	return event.SensorReport{ScanID: c.Scan, Attempt: c.Attempt, Container: c.ID, Node: s.d.Node, At: s.d.Now().UTC()}
}

// report emits a report until the broker has it, or ctx ends. Its ID follows
// from the container and from whether it was lost, so that a repetition is
// recognised, and a report of a loss is no repetition of another one's.
func (s *Sensor) report(ctx context.Context, c Container, r event.SensorReport, extensions ...[2]string) {
	id := event.ID(event.SensorReported, string(c.Scan), strconv.Itoa(c.Attempt), c.ID, strconv.FormatBool(r.Lost))
	e, err := event.New(event.SensorReported, event.Source(Name), string(c.Scan), id, r.At, r)
	if err != nil {
		s.d.Log.Error("a report can't be made", "scan_id", c.Scan, "error", err)
		return
	}
	e.SetExtension(event.ExtScanID, string(c.Scan))
	for _, x := range extensions {
		e.SetExtension(x[0], x[1])
	}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		if err := s.d.Emit.Emit(ctx, e); err == nil {
			s.count.reports.WithLabelValues(strconv.FormatBool(r.Lost)).Inc()
			return
		} else if ctx.Err() == nil {
			s.d.Log.Warn("a report is not sent yet", "scan_id", c.Scan, "error", err)
		}
		select {
		case <-ctx.Done():
			s.d.Log.Error("a report was not sent", "scan_id", c.Scan)
			return
		case <-time.After(pause):
		}
	}
}

// firstOf cuts a list and says so.
func firstOf(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(list[:n:n], fmt.Sprintf("and %d more", len(list)-n))
}
