package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// maxReports bounds the attempts whose reports are kept.
const maxReports = 4

// merged takes a report in. Of two for one attempt the same one stays,
// whichever comes first: one that lost sight of the sandbox, then the earlier.
func merged(list []event.SensorReport, r event.SensorReport) ([]event.SensorReport, bool) {
	r.Incomplete, r.Outlived, r.Unwatched = clipTexts(r.Incomplete), clipTexts(r.Outlived), clipTexts(r.Unwatched)
	r.Container, r.Node = cut(r.Container, maxText), cut(r.Node, maxText)
	i, found := slices.BinarySearchFunc(list, r.Attempt, func(x event.SensorReport, n int) int { return cmp.Compare(x.Attempt, n) })
	if found && precedence(list[i], r) <= 0 {
		return list, false
	}
	list = slices.Clone(list)
	if found {
		list[i] = r
		return list, true
	}
	if list = slices.Insert(list, i, r); len(list) <= maxReports {
		return list, true
	}
	return list[1:], i > 0
}

func precedence(a, b event.SensorReport) int {
	lost := func(r event.SensorReport) int {
		if r.Lost {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(lost(a), lost(b)), a.At.Compare(b.At), strings.Compare(a.Container, b.Container), strings.Compare(a.Node, b.Node))
}

// watched reports whether a sensor apart from the sandbox watches this attempt,
// the one that ended.
func (s State) watched() bool {
	return s.Exited != nil && s.Started != nil && s.Started.Attempt >= s.Exited.Attempt && s.Started.Sensor == event.SensorGVisor
}

// report returns the sensor's report of the attempt that ended, nil for none.
func (s State) report() *event.SensorReport {
	for i := range s.Reports {
		if s.Exited != nil && s.Reports[i].Attempt == s.Exited.Attempt {
			return &s.Reports[i]
		}
	}
	return nil
}

// hold has an exit wait for the report of its attempt, or no longer.
func (s State) hold(at time.Time) State {
	switch {
	case !s.watched() || s.report() != nil || s.Unreported >= s.Exited.Attempt || !s.ExitHeld.IsZero():
		s.ReportHeld = time.Time{}
	case s.ReportHeld.IsZero():
		s.ReportHeld = at
	}
	return s
}

// unseen reports whether the attempt that ended was not watched to its end.
func (s State) unseen() bool {
	r := s.report()
	return s.watched() && (r == nil || r.Lost)
}

// repeats holds for a scan whose first attempt was not watched to its end, and that
// has no finding which settles it all the same.
func (s State) repeats(v finding.Verdict) bool {
	return s.unseen() && s.Exited.Attempt == 1 && v == finding.Inconclusive
}

// Repeats reports whether the scan has to be requested once more, its result
// being r. A scan whose next attempt has started was.
func (s State) Repeats(r finding.Result) bool {
	goesOn := s.Started != nil && s.Exited != nil && s.Started.Attempt > s.Exited.Attempt
	return s.Again.IsZero() && !goesOn && s.repeats(r.Verdict)
}
