package correlate

import (
	"cmp"
	"encoding/hex"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// MaxAlerts bounds the stored alerts of one scan that are looked at.
const MaxAlerts = 100_000

// Entry is a stored alert.
type Entry struct {
	Seq     uint64
	Subject string
	Digest  string
	Alert   falco.Alert
	Err     error // why it can't be read
}

// Effect says what adding an Entry did.
type Effect uint8

// The effects of Fold.Add.
const (
	Joined     Effect = iota // a new alert
	Repeated                 // the same content stored a second time
	Known                    // this very entry was added before
	Beyond                   // MaxAlerts were added already
	Unreadable               // counted, makes the result incomplete
)

// Fold is what a scan's alerts amount to. It is not safe for concurrent use.
type Fold struct {
	after    uint64 // entries up to here are part of the base
	base     finding.Counts
	digests  map[digest]uint64 // content → the sequence it was first seen with
	repeats  map[uint64]struct{}
	broken   map[uint64]struct{}
	progress map[string]Progress
	findings map[string]*gathered
	surplus  map[uint64]struct{} // hashes of the IDs of findings that were dropped
	worst    *gathered           // least urgent finding kept, once there is no room
	seed     maphash.Seed
	reached  uint64
	covered  uint64
	bytes    int
}

// digest is a content digest in its binary form.
type digest [16]byte

// Progress says how far a subject has been read.
type Progress struct {
	Count uint64 // entries added
	Last  uint64 // highest sequence
}

// gathered is a finding in the making; its evidence is sorted.
type gathered struct {
	finding.Finding
	desc string // the rule's description, "" if no alert brought it
}

// NewFold returns an empty Fold.
func NewFold() *Fold {
	return &Fold{
		digests: map[digest]uint64{}, repeats: map[uint64]struct{}{}, broken: map[uint64]struct{}{},
		progress: map[string]Progress{}, findings: map[string]*gathered{},
		surplus: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
	}
}

// NewFoldOn returns a Fold that goes on from a result which covers all
// sequences up to after: for a scan whose stored alerts are gone by now.
// Repetitions of alerts that the result shows as evidence are recognised,
// others are not.
func NewFoldOn(r finding.Result, after uint64) *Fold {
	f := NewFold()
	f.after, f.base, f.reached = after, r.Counts, after
	for _, x := range r.Findings {
		x.Evidence = slices.Clone(x.Evidence)
		g := &gathered{Finding: x}
		if len(x.Evidence) > 0 && x.Summary != g.said() {
			g.desc = x.Summary
		}
		f.findings[x.ID] = g
		for _, e := range x.Evidence {
			if d, ok := binary(e.AlertID); ok {
				f.digests[d] = 0
			}
		}
	}
	f.base.Alerts -= int64(len(f.digests))
	return f
}

// Add takes one entry in.
func (f *Fold) Add(e Entry) Effect {
	if f.Has(e.Seq, e.Digest) {
		return Known
	}
	if f.Full() {
		return Beyond
	}
	p := f.progress[e.Subject]
	f.progress[e.Subject] = Progress{Count: p.Count + 1, Last: max(p.Last, e.Seq)}
	if e.Seq <= f.after {
		return Known
	}
	d, ok := binary(e.Digest)
	if e.Err != nil || !ok {
		f.broken[e.Seq] = struct{}{}
		return Unreadable
	}
	if _, ok := f.digests[d]; ok {
		f.repeats[e.Seq] = struct{}{}
		return Repeated
	}
	f.digests[d] = e.Seq
	f.gather(e)
	return Joined
}

// Has reports whether the entry with this sequence and digest was added.
func (f *Fold) Has(seq uint64, content string) bool {
	if d, ok := binary(content); ok {
		if s, ok := f.digests[d]; ok && s == seq {
			return true
		}
	}
	if _, ok := f.repeats[seq]; ok {
		return true
	}
	_, ok := f.broken[seq]
	return ok
}

// Full reports whether no more entries are taken in.
func (f *Fold) Full() bool { return f.size() >= MaxAlerts }

func (f *Fold) size() int { return len(f.digests) + len(f.repeats) + len(f.broken) }

// Alerts returns how many distinct alerts joined.
func (f *Fold) Alerts() int64 { return f.base.Alerts + int64(len(f.digests)) }

// Reach says that every entry of the scan up to seq was added. Only who knows
// how many are stored can say so: entries come out of order, so the highest
// sequence added proves nothing about those below it.
func (f *Fold) Reach(seq uint64) { f.reached = max(f.reached, seq) }

// Reached returns the sequence up to which no entry is missing, as Reach said.
func (f *Fold) Reached() uint64 { return f.reached }

// Covered returns the sequence up to which the scan's result takes every alert
// into account, as Cover said.
func (f *Fold) Covered() uint64 { return f.covered }

// Cover marks all that was reached as accounted for in the scan's result.
func (f *Fold) Cover() { f.covered = f.reached }

// Progress returns how far a subject was read.
func (f *Fold) Progress(subject string) Progress { return f.progress[subject] }

// Bytes estimates the memory in use.
func (f *Fold) Bytes() int { return 512 + f.bytes + 64*f.size() + 16*len(f.surplus) }

// gather puts an alert under its finding.
func (f *Fold) gather(e Entry) {
	a, place := e.Alert, e.Alert.Place()
	ev := evidenceOf(a, e.Digest)
	pkg := place.Package
	pkg.PURL, pkg.Name, pkg.Version, pkg.Path = cut(pkg.PURL, maxText), cut(pkg.Name, maxText), cut(pkg.Version, maxElement), cut(pkg.Path, maxText)
	rule, script, phase := cut(a.Rule, maxText), cut(place.Script, maxElement), cut(place.Phase, maxElement)
	detail := detailOf(ev, a)
	id := finding.Fingerprint(rule, pkg.PURL, phase, script, detail)
	g := f.findings[id]
	if g == nil {
		if g = f.room(id, a.Priority); g == nil {
			return
		}
		g.Finding = finding.Finding{ID: id, Rule: rule, Priority: a.Priority, Package: pkg, Phase: phase, Script: script, Detail: detail, Claimed: place.Claimed}
		f.bytes += 512 + len(detail)
	}
	g.Count++
	g.desc = max(g.desc, cut(a.Field(falco.FieldDesc), maxText)) // one rule's, so they are alike; max for any order
	g.Priority = min(g.Priority, a.Priority)
	g.Claimed = g.Claimed && place.Claimed
	behaviours, techniques := labelsOf(a.Tags)
	g.Behaviours, g.Techniques = union(g.Behaviours, behaviours), union(g.Techniques, techniques)
	f.bytes += g.keep(ev)
	if g.Summary = g.desc; g.desc == "" {
		g.Summary = g.said()
	}
}

// keep inserts evidence where its time puts it and returns the growth in bytes.
func (g *gathered) keep(ev finding.Evidence) int {
	i, _ := slices.BinarySearchFunc(g.Evidence, ev, earlier)
	if i == finding.MaxEvidence {
		return 0
	}
	grown := evidenceSize(ev)
	if len(g.Evidence) == finding.MaxEvidence {
		grown -= evidenceSize(g.Evidence[finding.MaxEvidence-1])
		g.Evidence = g.Evidence[:finding.MaxEvidence-1]
	}
	g.Evidence = slices.Insert(g.Evidence, i, ev)
	return grown
}

// said is the summary where the rule's own description didn't come along: what
// the first alert said.
func (g *gathered) said() string { return cut(summaryOf(g.Evidence[0].Output, g.Rule), maxText) }

func earlier(a, b finding.Evidence) int {
	return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.AlertID, b.AlertID))
}

// evidenceSize is roughly what a piece of evidence takes, as JSON or in memory.
func evidenceSize(e finding.Evidence) int {
	n := 256 + networkSize(e.Network) + len(e.CommandLine) + len(e.Syscall) + len(e.File) + len(e.Address) + len(e.Output) + len(e.AlertID)
	for _, s := range e.ProcessChain {
		n += len(s) + 16
	}
	return n
}

// room returns a place for a new finding, nil if every one that is kept is
// more urgent. Once dropped, a finding stays dropped: those kept only become
// more urgent, so that the outcome does not depend on the order of alerts.
func (f *Fold) room(id string, p finding.Priority) *gathered {
	g := &gathered{Finding: finding.Finding{ID: id, Priority: p}}
	if len(f.findings) < finding.MaxFindings {
		f.findings[id] = g
		return g
	}
	if f.worst == nil {
		f.worst = slices.MaxFunc(slices.Collect(maps.Values(f.findings)), urgency)
	}
	if urgency(g, f.worst) > 0 {
		f.drop(id)
		return nil
	}
	f.drop(f.worst.ID)
	delete(f.findings, f.worst.ID)
	for _, e := range f.worst.Evidence {
		f.bytes -= evidenceSize(e)
	}
	f.findings[id], f.worst = g, nil
	return g
}

func (f *Fold) drop(id string) { f.surplus[maphash.String(f.seed, id)] = struct{}{} }

// urgency orders findings, most urgent first.
func urgency(a, b *gathered) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.ID, b.ID))
}

// binary reads a content digest.
func binary(s string) (d digest, ok bool) {
	if len(s) != 2*len(d) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err == nil
}
