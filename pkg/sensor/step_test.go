package sensor

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// loader is a manager whose recipe loads two packages.
type loader struct{ ecosystem.Manager }

var loaded = []finding.Package{{Name: "a", PURL: "pkg:npm/a@1.0.0"}, {Name: "b", PURL: "pkg:npm/b@1.0.0"}}

func (loader) Recipe(ecosystem.Project, ecosystem.Setting) ecosystem.Recipe {
	return ecosystem.Recipe{Steps: []ecosystem.Step{{Phase: ecosystem.PhaseImport, Argv: []string{"node", "-e", strings.Repeat("x", 2*record.MaxString)}, Timeout: time.Minute, Packages: loaded}}}
}

func (loader) Place(ecosystem.Project, ecosystem.Setting, ecosystem.Exec) (ecosystem.Place, bool) {
	return ecosystem.Place{}, false
}

func (loader) Locate(_ ecosystem.Project, dir, version string) (finding.Package, bool) {
	return finding.Package{Name: dir, Version: version}, dir != "nowhere"
}

// run plays records of an init, a package manager, and a loader that opens
// paths; it returns the table and the loader.
func run(t *testing.T, opened ...string) (*table, *Process) {
	t.Helper()
	tab := newTable(Config{Manager: loader{}, Setting: ecosystem.Setting{Import: true}, Init: true})
	play := func(r record.Record) *Process { r.TID = r.TGID; return tab.apply(&r) }
	play(record.Record{Kind: record.KindStart, TGID: 1, Argv: []string{"sh"}})
	play(record.Record{Kind: record.KindClone, TGID: 1, ChildTGID: 2})
	play(record.Record{Kind: record.KindExec, TGID: 2, Argv: []string{"npm", "ci"}})
	play(record.Record{Kind: record.KindClone, TGID: 1, ChildTGID: 3})
	p := play(record.Record{Kind: record.KindExec, TGID: 3, Argv: []string{"node", "-e", strings.Repeat("x", record.MaxString)}})
	for _, name := range opened {
		play(record.Record{Kind: "openat", TGID: 3, Path: name})
	}
	return tab, p
}

func mark(m ecosystem.Mark) string { return m.Path() }

func TestImportIsAttributed(t *testing.T) {
	a := mark(ecosystem.Mark{State: ecosystem.MarkRun})
	b := mark(ecosystem.Mark{State: ecosystem.MarkRun, Index: 1})
	in := mark(ecosystem.Mark{State: ecosystem.MarkIn, Dir: "node_modules/c", Version: "2.0.0"})
	for name, tt := range map[string]struct {
		opened  []string
		want    finding.Package
		placed  bool
		claimed bool
	}{
		"nothing yet":                   {nil, finding.Package{}, false, false},
		"the first alone is sure":       {[]string{a}, loaded[0], true, false},
		"said again":                    {[]string{a, a}, loaded[0], true, false},
		"the second could be the first": {[]string{a, b}, loaded[1], true, true},
		"and so could the first again":  {[]string{a, b, a}, loaded[0], true, true},
		"one that another requires":     {[]string{a, in}, finding.Package{Name: "node_modules/c", Version: "2.0.0"}, true, true},
		"of no package":                 {[]string{a, mark(ecosystem.Mark{State: ecosystem.MarkOwn})}, finding.Package{}, false, false},
		"beyond the list":               {[]string{mark(ecosystem.Mark{State: ecosystem.MarkRun, Index: 2})}, finding.Package{}, false, false},
		"another file":                  {[]string{"/dev/null"}, finding.Package{}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			tab, p := run(t, tt.opened...)
			if p.loading == nil || p.place.Package != tt.want || p.placed != tt.placed || p.claimed != tt.claimed {
				t.Errorf("place %+v (placed %v, claimed %v), want %+v", p.place, p.placed, p.claimed, tt.want)
			}
			if strings.Contains(p.CommandLine(), "xx") {
				t.Errorf("its command line is the loader's text: %.40s", p.CommandLine())
			}
			tab.apply(&record.Record{Kind: record.KindClone, TGID: 3, TID: 3, ChildTGID: 4})
			if c := tab.byPID[4]; c.place != p.place || c.claimed != p.claimed || c.loading != nil {
				t.Errorf("its child has the place %+v", c.place)
			}
		})
	}
}

// Nobody else can make marks: not what the package manager starts, nor a child
// of the loader, nor another program in the loader's place.
func TestMarksOfOthers(t *testing.T) {
	tab, p := run(t)
	tab.apply(&record.Record{Kind: record.KindClone, TGID: 2, TID: 2, ChildTGID: 5})
	hook := tab.apply(&record.Record{Kind: record.KindExec, TGID: 5, TID: 5, Argv: p.Argv})
	tab.apply(&record.Record{Kind: record.KindClone, TGID: 3, TID: 3, ChildTGID: 6})
	child := tab.byPID[6]
	for _, q := range []int32{5, 6} {
		tab.apply(&record.Record{Kind: "openat", TGID: q, TID: q, Path: mark(ecosystem.Mark{State: ecosystem.MarkRun})})
	}
	if hook.placed || child.placed {
		t.Errorf("placed by a mark of their own: %+v, %+v", hook.place, child.place)
	}
	other := tab.apply(&record.Record{Kind: record.KindExec, TGID: 3, TID: 3, Argv: []string{"sh"}})
	if tab.apply(&record.Record{Kind: "openat", TGID: 3, TID: 3, Path: mark(ecosystem.Mark{State: ecosystem.MarkRun})}); other.placed {
		t.Errorf("another program is placed by a mark: %+v", other.place)
	}
}

func TestImportsAreCounted(t *testing.T) {
	at := func(state string, i int, reason string) string {
		return mark(ecosystem.Mark{State: state, Index: i, Reason: reason})
	}
	for name, tt := range map[string]struct {
		opened  []string
		want    finding.Imports
		problem string
	}{
		"both":         {[]string{at("run", 0, ""), at("ok", 0, ""), at("run", 1, ""), at("ok", 1, "")}, finding.Imports{Loaded: 2}, ""},
		"one fails":    {[]string{at("run", 0, ""), at("failed", 0, "ERR_X"), at("run", 1, ""), at("ok", 1, ""), at("run", 0, "")}, finding.Imports{Loaded: 1, Failed: []finding.ImportFailure{{Package: loaded[0], Reason: "ERR_X"}}}, ""},
		"one does not": {[]string{at("run", 0, ""), at("ok", 0, ""), at("run", 1, "")}, finding.Imports{Loaded: 1}, "loading b did not end, and what comes after it was not loaded"},
		"none":         {nil, finding.Imports{}, "the packages were not loaded: the process that was to do it said nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			tab, _ := run(t, tt.opened...)
			sum, problem := tab.imports()
			if diff := cmp.Diff(&tt.want, sum); diff != "" || problem != tt.problem {
				t.Errorf("problem %q, want %q; (-want +got):\n%s", problem, tt.problem, diff)
			}
		})
	}
}
