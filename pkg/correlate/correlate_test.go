package correlate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const id = scan.ID("9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab")

var at = time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)

// entry makes the n-th alert of a scan; more fields come as name, value.
func entry(n int, rule string, p finding.Priority, more ...string) Entry {
	a := falco.Alert{
		Rule: rule, Priority: p, Time: at.Add(time.Duration(n) * time.Millisecond), Hostname: "h",
		Output: "19:00:00.000000000: " + p.String() + " " + rule + " seen", Tags: []string{"T1552.001", "behaviour:credential-read"},
		Fields: map[string]any{"evt.num": json.Number(fmt.Sprint(n)), "evt.type": "openat", "proc.cmdline": "cat x"},
	}
	for i := 0; i+1 < len(more); i += 2 {
		a.Fields[more[i]] = more[i+1]
	}
	return Entry{Seq: uint64(n), Subject: "s." + rule, Digest: a.Digest(), Alert: a}
}

func started(attempt int) *event.Started {
	return &event.Started{Request: scan.Request{ID: id, Project: "acme/app", Root: ".", Manager: "npm"}, Attempt: attempt, At: at.Add(time.Duration(attempt) * time.Hour), Sandbox: "gvisor"}
}

func exited(attempt int, stored int64) *event.Exited {
	return &event.Exited{Request: started(attempt).Request, Attempt: attempt, At: at.Add(time.Duration(attempt)*time.Hour + time.Minute),
		Sandbox: finding.Sandbox{Kind: "gvisor", Reason: "completed"}, AlertsStored: stored, Packages: 3, Log: "done"}
}

func ended(stored int64) State {
	s, _ := State{ScanID: id}.Apply(Input{Started: started(1)}, at)
	s, _ = s.Apply(Input{Exited: exited(1, stored)}, at)
	return s
}

func TestFoldIsTheSameInAnyOrder(t *testing.T) {
	var entries []Entry
	for n := 1; n <= 60; n++ {
		p := []finding.Priority{finding.Notice, finding.Warning, finding.Critical}[n%3]
		entries = append(entries, entry(n, fmt.Sprint("rule", n%3), p, "fd.name", fmt.Sprintf("/home/u/.ssh/key%d", n%4), "falconer.package", fmt.Sprintf("pkg:npm/p%d@1.0.0", n%2)))
	}
	for n := 61; n <= 70; n++ { // the same content stored again
		e := entries[n-61]
		e.Seq = uint64(n)
		entries = append(entries, e)
	}
	conclude := func(list []Entry) finding.Result {
		f := NewFold()
		for _, e := range list {
			f.Add(e)
		}
		return Conclude(ended(70), f, Overflow{}, nil, nil)
	}
	want := conclude(entries)
	if want.Counts.Alerts != 60 || want.Counts.Duplicates != 10 || want.Verdict != finding.Malicious {
		t.Fatalf("counts %+v, verdict %s", want.Counts, want.Verdict)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		list := slices.Clone(entries)
		for range rng.IntN(30) { // read again
			list = append(list, entries[rng.IntN(len(entries))])
		}
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if diff := cmp.Diff(want, conclude(list)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestFoldKeepsTheMostUrgentFindings(t *testing.T) {
	var entries []Entry
	for n := 1; n <= 3*finding.MaxFindings; n++ {
		p := finding.Notice
		if n%1000 == 0 {
			p = finding.Critical
		}
		entries = append(entries, entry(n, "r", p, "fd.name", fmt.Sprintf("/f/%s", strings.Repeat("x", n%40)+fmt.Sprintf("%cq%dz", 'a'+n%26, n%997)+fmt.Sprint(n%7)), "falconer.package", fmt.Sprintf("pkg:npm/p%d", n)))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var want finding.Result
	for i := range 4 {
		f := NewFold()
		rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		for _, e := range entries {
			f.Add(e)
		}
		got := Conclude(ended(int64(len(entries))), f, Overflow{}, nil, nil)
		if got.Counts.Findings != 3*finding.MaxFindings || len(got.Findings) > finding.MaxFindings {
			t.Fatalf("%d of %d findings", len(got.Findings), got.Counts.Findings)
		}
		if n := slices.IndexFunc(got.Findings, func(f finding.Finding) bool { return f.Priority != finding.Critical }); n != 3 {
			t.Fatalf("%d critical findings kept in front, want 3", n)
		}
		if i == 0 {
			want = got
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("another order keeps other findings: %.2000s", diff)
		}
	}
}

func TestFoldIsBounded(t *testing.T) {
	f := NewFold()
	e := entry(1, "r", finding.Notice)
	beyond := 0
	for n := range MaxAlerts + 500 {
		e.Seq, e.Digest = uint64(n+1), fmt.Sprintf("%032x", n)
		if f.Add(e) == Beyond {
			beyond++
		}
	}
	if beyond != 500 || f.Alerts() != MaxAlerts {
		t.Errorf("%d alerts kept, %d beyond", f.Alerts(), beyond)
	}
	if f.Bytes() > 16<<20 {
		t.Errorf("a full fold of one finding takes %d bytes", f.Bytes())
	}
	r := Conclude(ended(0), f, Overflow{Unread: int64(beyond)}, nil, nil)
	if r.Verdict != finding.Inconclusive || r.Counts.Capped != 500 {
		t.Errorf("verdict %s, counts %+v", r.Verdict, r.Counts)
	}
}

func TestResultFitsAnEvent(t *testing.T) {
	f := NewFold()
	for n := 1; n <= 2000; n++ {
		f.Add(entry(n, strings.Repeat("r", 500), finding.Critical, "fd.name", "/"+strings.Repeat("<", 600), "proc.cmdline", strings.Repeat("\x01", 600),
			"falconer.package", fmt.Sprintf("pkg:npm/%s@%d", strings.Repeat("&", 400), n)))
	}
	s := ended(2000)
	x := *s.Exited
	x.Fetches = make([]finding.Fetch, 20_000)
	for i := range x.Fetches {
		x.Fetches[i] = finding.Fetch{Name: strings.Repeat("n", 100), Integrity: strings.Repeat("i", 100)}
	}
	x.Log = strings.Repeat("\x01", 1<<20)
	s.Exited = nil
	s, _ = s.Apply(Input{Exited: &x}, at)
	r := Conclude(s, f, Overflow{}, nil, nil)
	b, err := json.Marshal(r)
	if err != nil || len(b) > MaxResult {
		t.Errorf("result of %d bytes, %v", len(b), err)
	}
	if r.Verdict != finding.Malicious || r.Counts.Findings != 2000 || len(r.Findings) == 0 || !strings.Contains(strings.Join(r.Reasons, "\n"), "too long") {
		t.Errorf("verdict %s, %d of %d findings", r.Verdict, len(r.Findings), r.Counts.Findings)
	}
}

func TestConcludeSaysWhatIsIncomplete(t *testing.T) {
	one := func() *Fold { f := NewFold(); f.Add(entry(1, "r", finding.Notice)); return f }
	tests := map[string]struct {
		state   State
		fold    *Fold
		over    Overflow
		verdict finding.Verdict
		says    string
	}{
		"nothing":        {ended(1), one(), Overflow{}, finding.Clean, ""},
		"store lost":     {ended(3), one(), Overflow{}, finding.Inconclusive, "stored 3 alerts, only 1"},
		"over limit":     {ended(3), one(), Overflow{Judged: 2}, finding.Inconclusive, "2 alerts of priority Warning"},
		"low over limit": {ended(3), one(), Overflow{Noted: 2}, finding.Clean, ""},
		"beyond fold":    {ended(3), one(), Overflow{Unread: 2}, finding.Inconclusive, "not looked at"},
		"unreadable": {ended(0), func() *Fold {
			f := one()
			f.Add(Entry{Seq: 2, Err: errors.New("x")})
			return f
		}(), Overflow{}, finding.Inconclusive, "could not be read"},
		"timeout": {func() State {
			s := ended(1)
			s.Exited.Sandbox.Reason = "timeout"
			return s
		}(), one(), Overflow{}, finding.Inconclusive, "timeout"},
		"dropped": {func() State {
			s := ended(1)
			s.Exited.SensorDropped = 7
			return s
		}(), one(), Overflow{}, finding.Inconclusive, "lost 7"},
		"sensor cap": {func() State {
			s := ended(1)
			s.Exited.AlertsCapped = 9
			return s
		}(), one(), Overflow{}, finding.Inconclusive, "9 alerts"},
		"lost": {State{ScanID: id, Started: started(1), Lost: at.Add(time.Hour)}, one(), Overflow{}, finding.Inconclusive, "sandbox lost"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := Conclude(tt.state, tt.fold, tt.over, nil, nil)
			if r.Verdict != tt.verdict || !strings.Contains(strings.Join(r.Incomplete, "\n"), tt.says) || (tt.says == "" && len(r.Incomplete) > 0) {
				t.Errorf("verdict %s, incomplete %q", r.Verdict, r.Incomplete)
			}
			if r.Project != "acme/app" || r.Manager != "npm" {
				t.Errorf("result does not say what was scanned: %+v", r)
			}
		})
	}
}

func TestFindingIdentity(t *testing.T) {
	base := []string{"fd.name", "/proc/123/environ", "falconer.package", "pkg:npm/a@1.0.0", "falconer.script", "postinstall"}
	ids := func(pairs ...string) string {
		f := NewFold()
		f.Add(entry(1, "r", finding.Warning, append(slices.Clone(base), pairs...)...))
		return f.Findings()[0].ID
	}
	same := map[string][]string{
		"pid":         {"fd.name", "/proc/4567/environ"},
		"thread":      {"fd.name", "/proc/4567/task/4568/environ"},
		"command":     {"proc.cmdline", "other"},
		"random name": {"fd.name", "/proc/1/environ"},
	}
	for name, pairs := range same {
		if ids(pairs...) != ids() {
			t.Errorf("another %s makes another finding", name)
		}
	}
	for name, pairs := range map[string][]string{
		"file": {"fd.name", "/proc/1/maps"}, "package": {"falconer.package", "pkg:npm/b@1.0.0"}, "script": {"falconer.script", "preinstall"},
	} {
		if ids(pairs...) == ids() {
			t.Errorf("another %s makes the same finding", name)
		}
	}
	net := func(name string, more ...string) string { return ids(append([]string{"fd.name", name}, more...)...) }
	if net("10.0.0.1:40000->192.0.2.1:443") != net("10.0.0.2:50000->198.51.100.9:443") {
		t.Error("another IP address makes another finding")
	}
	if net("10.0.0.1:40000->192.0.2.1:443") == net("10.0.0.1:40000->192.0.2.1:22") {
		t.Error("another port makes the same finding")
	}
	if net("10.0.0.1:40000->192.0.2.1:443", "fd.sip.name", "a.example.com") == net("10.0.0.1:40000->192.0.2.1:443", "fd.sip.name", "b.example.com") {
		t.Error("another host name makes the same finding")
	}
}

func TestEvidence(t *testing.T) {
	f := NewFold()
	e := entry(1, "r", finding.Warning, "fd.name", "127.0.0.1:40000->192.0.2.1:443", "proc.pcmdline", "sh -c x", "proc.aname[2]", "npm", "proc.cmdline", "curl \xff"+strings.Repeat("ä", 400))
	f.Add(e)
	got := f.Findings()[0]
	ev := got.Evidence[0]
	if diff := cmp.Diff([]string{"npm", "sh -c x"}, ev.ProcessChain[:2]); diff != "" || len(ev.ProcessChain) != 3 {
		t.Errorf("chain %q", ev.ProcessChain)
	}
	if ev.Address != "192.0.2.1:443" || ev.File != "" || ev.Syscall != "openat" || ev.AlertID != e.Digest {
		t.Errorf("evidence %+v", ev)
	}
	if len(ev.CommandLine) > maxText || !strings.HasSuffix(ev.CommandLine, cutMark) {
		t.Errorf("command line of %d bytes: %q", len(ev.CommandLine), ev.CommandLine)
	}
	if got.Summary != "r seen" {
		t.Errorf("summary %q", got.Summary)
	}
	if diff := cmp.Diff([]string{"credential-read"}, got.Behaviours) + cmp.Diff([]string{"T1552.001"}, got.Techniques); diff != "" {
		t.Error(diff)
	}
}

func TestFoldOnResult(t *testing.T) {
	f := NewFold()
	for n := 1; n <= 10; n++ {
		f.Add(entry(n, "r", finding.Warning, "fd.name", "/a"))
	}
	prev := Conclude(ended(10), f, Overflow{}, nil, nil)
	g := NewFoldOn(prev, 10)
	g.Add(entry(5, "r", finding.Warning, "fd.name", "/a"))                    // covered already
	again := entry(1, "r", finding.Warning, "fd.name", "/a")                  // evidence, stored again
	again.Seq = 11                                                            //
	if e := g.Add(again); e != Repeated || g.Alerts() != prev.Counts.Alerts { //
		t.Fatalf("effect %d, %d alerts", e, g.Alerts())
	}
	g.Add(entry(12, "r", finding.Warning, "fd.name", "/a"))
	g.Add(entry(13, "s", finding.Critical, "fd.name", "/b"))
	next := Conclude(ended(10), g, Overflow{}, &prev, nil)
	if next.Counts.Alerts != 12 || len(next.Findings) != 2 || next.Findings[1].Count != 11 || next.Revision != 2 || next.Verdict != finding.Malicious {
		t.Errorf("result %+v", next)
	}
	if !Changed(prev, next) || Changed(next, next) {
		t.Error("Changed is wrong")
	}
}

func TestStateIsTheSameInAnyOrder(t *testing.T) {
	inputs := []Input{
		{Started: started(1)}, {Exited: exited(1, 0)}, {Started: started(2)}, {Exited: exited(2, 0)},
		{Alerts: &event.Alerts{ScanID: id}}, {Started: started(1)}, {Exited: exited(2, 0)},
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		rng.Shuffle(len(inputs), func(i, j int) { inputs[i], inputs[j] = inputs[j], inputs[i] })
		s := State{ScanID: id}
		for _, in := range inputs {
			s, _ = s.Apply(in, at)
		}
		if s.Started.Attempt != 2 || s.Exited.Attempt != 2 || !s.Ended() {
			t.Fatalf("order %+v ends in %+v", inputs, s)
		}
	}
}

func TestExpire(t *testing.T) {
	g := Grace{Unknown: time.Minute, Start: 10 * time.Second, Lost: time.Minute}
	apply := func(ins ...Input) State {
		s := State{ScanID: id}
		for _, in := range ins {
			s, _ = s.Apply(in, at)
		}
		return s
	}
	start := started(0) // at
	tests := map[string]struct {
		s    State
		due  time.Time
		want Overdue
	}{
		"held":       {apply(Input{Alerts: &event.Alerts{}}), at.Add(time.Minute), Orphan},
		"started":    {apply(Input{Started: start}), at.Add(scan.DefaultTimeout + time.Minute), Lose},
		"exit only":  {apply(Input{Exited: exited(0, 0)}), at.Add(10 * time.Second), Finish},
		"no result":  {apply(Input{Started: start}, Input{Exited: exited(0, 0)}), at.Add(2 * time.Minute), Finish},
		"rejected":   {apply(Input{Started: start}, Input{Rejected: &event.Rejected{Reason: "x"}}), time.Time{}, Wait},
		"unknown":    {State{ScanID: id}, time.Time{}, Wait},
		"announced":  {State{ScanID: id, Exited: exited(0, 0), Started: start, Announced: 1}, time.Time{}, Wait},
		"late start": {apply(Input{Exited: exited(0, 0)}, Input{Started: start}), at.Add(2 * time.Minute), Finish},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if due := tt.s.Due(g); !due.Equal(tt.due) {
				t.Errorf("due %v, want %v", due, tt.due)
			}
			if _, w := tt.s.Expire(g, at.Add(-time.Second)); w != Wait {
				t.Errorf("before it is due: %d", w)
			}
			next, w := tt.s.Expire(g, at.Add(24*time.Hour))
			if w != tt.want {
				t.Errorf("overdue: %d, want %d", w, tt.want)
			}
			if (w == Lose || w == Finish) && !next.Ended() {
				t.Error("not ended afterwards")
			}
		})
	}
}

func TestLostScanComesBack(t *testing.T) {
	s, _ := State{ScanID: id}.Apply(Input{Started: started(1)}, at)
	s, what := s.Expire(DefaultGrace, at.Add(24*time.Hour))
	if what != Lose || !s.Ended() {
		t.Fatal("not lost")
	}
	again, _ := s.Apply(Input{Started: started(2)}, at)
	if again.Ended() {
		t.Error("a second attempt is running, and the scan counts as ended")
	}
	s, _ = s.Apply(Input{Exited: exited(1, 0)}, at)
	if r := Conclude(s, NewFold(), Overflow{}, nil, nil); r.Verdict != finding.Clean {
		t.Errorf("verdict %s: %v", r.Verdict, r.Incomplete)
	}
}

func BenchmarkFold(b *testing.B) {
	entries := make([]Entry, 1000)
	for n := range entries {
		entries[n] = entry(n+1, "r", finding.Warning, "fd.name", fmt.Sprintf("/home/u/%d", n%20))
	}
	b.ReportAllocs()
	n := 0
	f := NewFold()
	for b.Loop() {
		if n%len(entries) == 0 {
			f = NewFold()
		}
		f.Add(entries[n%len(entries)])
		n++
	}
}

// TestRejectionsInEveryOrder has a scan rejected, replayed and rejected once more,
// or ended, and its events heard in every order, each twice.
func TestRejectionsInEveryOrder(t *testing.T) {
	start, exit := started(1), exited(1, 0)
	reject := func(after time.Duration, why string) Input {
		return Input{Rejected: &event.Rejected{Reason: why}, At: start.At.Add(after)}
	}
	first, second := reject(-time.Minute, "first"), reject(time.Minute, "second")
	for name, tt := range map[string]struct {
		heard    []Input
		rejected string
		ended    bool
	}{
		"rejected":           {[]Input{first}, "first", false},
		"twice":              {[]Input{first, second}, "second", false},
		"replayed":           {[]Input{first, {Started: start}}, "", false},
		"replayed and ended": {[]Input{first, {Started: start}, {Exited: exit}}, "", true},
		"replayed in vain":   {[]Input{first, {Started: start}, second}, "second", false},
		"while it runs":      {[]Input{{Started: start}, second}, "second", false},
		"at once":            {[]Input{{Started: start}, reject(0, "at once")}, "at once", false},
		"ended after all":    {[]Input{{Started: start}, second, {Exited: exit}}, "second", true},
	} {
		t.Run(name, func(t *testing.T) {
			permuted(tt.heard, func(order []Input) {
				s := State{ScanID: id}
				for range 2 {
					for _, in := range order {
						s, _ = s.Apply(in, at)
					}
				}
				if s.Rejected != tt.rejected || s.Ended() != tt.ended {
					t.Errorf("%+v: rejected %q, ended %t", order, s.Rejected, s.Ended())
				}
				if due := !s.Due(DefaultGrace).IsZero(); due != (tt.rejected == "" || tt.ended) {
					t.Errorf("%+v: due %t", order, due)
				}
			})
		})
	}
}

// permuted calls f with every order of a list.
func permuted[T any](list []T, f func([]T)) {
	if len(list) < 2 {
		f(list)
		return
	}
	for i := range list {
		rest := append(append([]T(nil), list[:i]...), list[i+1:]...)
		permuted(rest, func(tail []T) { f(append([]T{list[i]}, tail...)) })
	}
}
