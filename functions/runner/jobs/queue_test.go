package jobs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Each scenario's entries are "id project priority phase"; next says in which
// order those that wait start when slots become free one by one.
func TestOrderOfStarts(t *testing.T) {
	for name, c := range map[string]struct {
		entries []string
		want    string
	}{
		"first come, first served":          {[]string{"a p 0", "b p 0", "c p 0"}, "a b c"},
		"the urgent first":                  {[]string{"a p 0", "b p 1", "c p 2", "d p 2"}, "c d b a"},
		"projects take turns":               {[]string{"a p 0", "b p 0", "c p 0", "d q 0", "e r 0"}, "a d e b c"},
		"urgency counts more than fairness": {[]string{"a p 2", "b p 2", "c q 1"}, "a b c"},
		"a busy project waits":              {[]string{"x p 0 running", "a p 0", "b q 0"}, "b a"},
		"a claim is a slot":                 {[]string{"x p 0 claimed", "a p 0", "b q 0"}, "b a"},
		"what is dropped has none":          {[]string{"x p 0 dropped", "a p 0", "b q 0"}, "a b"},
	} {
		var s state
		for _, line := range c.entries {
			f := strings.Fields(line)
			s.add(entry{ID: scan.ID(f[0]), Attempt: 1, Project: f[1], Priority: scan.Priority(f[2][0] - '0')}, "")
			if len(f) > 3 {
				s.Entries[len(s.Entries)-1].Phase = phase(f[3])
			}
		}
		var got []string
		for e := s.next(99); e != nil; e = s.next(99) {
			e.claim("somebody", time.Time{})
			got = append(got, string(e.ID))
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestLimit(t *testing.T) {
	var s state
	for _, id := range []scan.ID{"a", "b", "c"} {
		s.add(entry{ID: id, Attempt: 1}, "")
	}
	for limit, want := range []bool{false, true, true} {
		if got := s.next(limit) != nil; got != want {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	s.next(2).claim("", time.Time{})
	s.next(2).claim("", time.Time{})
	if e := s.next(2); e != nil {
		t.Errorf("%s has a third slot", e.ID)
	}
}

func TestLines(t *testing.T) {
	at := eventtest.At()
	for name, c := range map[string]struct {
		there, add entry
		newer      bool
		dropped    bool
	}{
		"a newer commit":   {entry{Line: "l", Commit: "1", Pushed: at}, entry{Line: "l", Commit: "2", Pushed: at.Add(1)}, false, true},
		"an older commit":  {entry{Line: "l", Commit: "1", Pushed: at.Add(1)}, entry{Line: "l", Commit: "2", Pushed: at}, true, false},
		"at the same time": {entry{Line: "l", Commit: "1", Pushed: at}, entry{Line: "l", Commit: "2", Pushed: at}, false, true},
		"the same commit":  {entry{Line: "l", Commit: "1", Pushed: at}, entry{Line: "l", Commit: "1", Pushed: at.Add(1)}, false, false},
		"another line":     {entry{Line: "l", Commit: "1", Pushed: at}, entry{Line: "m", Commit: "2", Pushed: at.Add(1)}, false, false},
		"no line":          {entry{Commit: "1", Pushed: at}, entry{Commit: "2", Pushed: at.Add(1)}, false, false},
	} {
		var s state
		c.there.ID, c.add.ID = "there", "add"
		s.add(c.there, "c")
		newer := s.add(c.add, "c")
		if (newer != nil) != c.newer || (s.find("there").Phase == dropped) != c.dropped || (s.find("add") != nil) == c.newer {
			t.Errorf("%s: newer %v, %+v", name, newer, s.Entries)
		}
	}
	r := scan.Request{Project: "p", Ref: "main", Commit: "c", Root: ".", Manager: "npm"}
	for name, change := range map[string]func(*scan.Request){
		"project": func(r *scan.Request) { r.Project = "q" }, "ref": func(r *scan.Request) { r.Ref = "x" },
		"root": func(r *scan.Request) { r.Root = "x" }, "manager": func(r *scan.Request) { r.Manager = "x" },
	} {
		other := r
		change(&other)
		if line(other) == line(r) {
			t.Errorf("another %s is in the same line", name)
		}
	}
	r.Commit = "d"
	if line(r) == "" || line(scan.Request{Project: "p", Commit: "c"}) != "" || line(scan.Request{Project: "p", Ref: "main"}) != "" {
		t.Error("what has no ref or no commit is in a line")
	}
}
