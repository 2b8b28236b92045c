package sensor

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

const at = "/builds/project/node_modules/a/"

// script is a process of the package a, running a program of the system.
func script() *Process {
	return &Process{Exe: "/usr/bin/node", placed: true, place: ecosystem.Place{Package: finding.Package{PURL: "pkg:npm/a@1.0.0", Path: "node_modules/a"}}}
}

func newTestTrail() *trail {
	return newTrail(Config{Setting: ecosystem.Setting{Home: "/root", Work: "/builds/project"}})
}

func did(kind, file string, flags uint32) *record.Record {
	return &record.Record{Kind: kind, Path: file, Flags: flags, HasResult: true}
}

const (
	dir    = unix.O_RDONLY | unix.O_DIRECTORY
	create = unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC
)

// TestTrailCounts: each is counted once, and only what is someone's.
func TestTrailCounts(t *testing.T) {
	failed := did("unlink", "/root/.netrc", 0)
	failed.Result = -int64(unix.ENOENT)
	for _, tt := range []struct {
		name            string
		records         []*record.Record
		listed, removed int64
	}{
		{"directories", []*record.Record{did("openat", "/root", dir), did("openat", "/root/.config", dir), did("openat", "/root", dir), did("openat", "/", dir)}, 3, 0},
		{"where a build looks", []*record.Record{did("openat", at, dir), did("openat", "/usr/lib", dir), did("openat", "/tmp/x", dir), did("openat", "/root/.cache/x", dir), did("openat", "/root/.npm/_cacache", dir)}, 0, 0},
		{"names that only begin alike", []*record.Record{did("openat", "/builds/project2", dir), did("openat", "/tmpx", dir)}, 2, 0},
		{"removed", []*record.Record{did("unlink", "/root/.netrc", 0), did("unlink", "/root/.netrc", 0), did("rmdir", "/root/.ssh", 0)}, 0, 2},
		{"emptied", []*record.Record{did("openat", "/root/.bashrc", create), did("openat", "/root/a", unix.O_WRONLY|unix.O_TRUNC), did("truncate", "/root/b", 0)}, 0, 3},
		{"moved away", []*record.Record{{Kind: "rename", Path: "/root/.netrc", Target: "/tmp/x", HasResult: true}}, 0, 1},
		{"linked", []*record.Record{{Kind: "link", Path: "/root/.netrc", Target: "/root/x", HasResult: true}}, 0, 0},
		{"appended to", []*record.Record{did("openat", "/root/.bashrc", unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND)}, 0, 0},
		{"overwritten in place", []*record.Record{did("openat", "/root/.netrc", unix.O_WRONLY)}, 0, 1},
		{"not there", []*record.Record{failed}, 0, 0},
		{"its own", []*record.Record{did("openat", "/root/x", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL), did("unlink", "/root/x", 0), did("unlink", at+"x.js", 0), did("unlink", "/tmp/x", 0), did("unlink", "/root/.cache/x", 0)}, 0, 0},
		{"the project's", []*record.Record{did("unlink", "/builds/project/src/a.js", 0)}, 0, 1},
	} {
		tr := newTestTrail()
		var listed, removed int64
		for _, r := range tt.records {
			n := tr.note(r, script())
			listed, removed = max(listed, n.listed), max(removed, n.removed)
		}
		if listed != tt.listed || removed != tt.removed {
			t.Errorf("%s: %d listed, %d removed; want %d, %d", tt.name, listed, removed, tt.listed, tt.removed)
		}
	}
}

// TestTrailKeepsPackagesApart: nobody's count is another's, and the package
// manager has none.
func TestTrailKeepsPackagesApart(t *testing.T) {
	tr, other, manager, project := newTestTrail(), script(), &Process{manager: true}, script()
	other.place.Package.Path = "node_modules/b"
	project.place.Package = finding.Package{Path: "."}
	for i := range 3 {
		r := did("unlink", fmt.Sprint("/root/", i), 0)
		if a, b, c := tr.note(r, script()).removed, tr.note(r, other).removed, tr.note(r, manager).removed; a != int64(i+1) || b != a || c != 0 {
			t.Errorf("counts %d, %d and %d", a, b, c)
		}
	}
	if n := tr.note(did("unlink", "/builds/project/dist/x", 0), project).removed; n != 0 {
		t.Errorf("the project cleans up after itself: %d", n)
	}
}

// TestTrailNamesTheWriter of a program that is executed later, through renames
// and links.
func TestTrailNamesTheWriter(t *testing.T) {
	run := func(tr *trail, file string) string {
		p := script()
		p.Exe = file
		return tr.note(&record.Record{Kind: record.KindExec, Exe: file}, p).writer
	}
	tr := newTestTrail()
	tr.note(did("openat", at+"x", create), script())
	tr.note(&record.Record{Kind: "rename", Path: at + "x", Target: at + "y", HasResult: true}, script())
	tr.note(&record.Record{Kind: "link", Path: at + "y", Target: at + "z", HasResult: true}, script())
	if x, y, z, shipped := run(tr, at+"x"), run(tr, at+"y"), run(tr, at+"z"), run(tr, at+"bin"); x != "" || y != "node" || z != "node" || shipped != "" {
		t.Errorf("written by %q, %q, %q, %q", x, y, z, shipped)
	}
	imitation := script()
	imitation.Exe, imitation.Upper = at+"ld", true
	tr.note(did("openat", at+"w", create), imitation)
	if got := run(tr, at+"w"); got != at+"ld" {
		t.Errorf("written by %q", got)
	}
}

// TestTrailKnowsOwnFiles: those that came with the package, as it came.
func TestTrailKnowsOwnFiles(t *testing.T) {
	tr := newTestTrail()
	if got := tr.note(did("openat", at+"package.json", create), script()).own; got != "package.json" {
		t.Errorf("the manifest is %q", got)
	}
	tr.note(did("openat", at+"made.js", create), script())
	for file, want := range map[string]string{at + "lib/x.js": "lib/x.js", at + "made.js": "", "/builds/project/node_modules/ab/x.js": "", "/builds/project/x.js": ""} {
		if got := tr.note(did("unlink", file, 0), script()).own; got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

// TestTrailIsBounded and says what it forgot.
func TestTrailIsBounded(t *testing.T) {
	tr := newTestTrail()
	for i := range MaxWritten + 3 {
		tr.note(did("openat", fmt.Sprint(at, i), unix.O_WRONLY|unix.O_CREAT), script())
	}
	if len(tr.written) != MaxWritten || tr.overflow != 3 {
		t.Errorf("%d remembered, %d forgotten", len(tr.written), tr.overflow)
	}
	for i := range MaxCounted + 9 {
		tr.note(did("unlink", fmt.Sprint("/root/", i), 0), script())
	}
	if n := len(tr.counts[countKey{"node_modules/a", removedFiles}]); n != MaxCounted {
		t.Errorf("%d counted", n)
	}
}

// TestTrailHearsNames that a name server is asked for.
func TestTrailHearsNames(t *testing.T) {
	tr := newTestTrail()
	ask := func(name string, port byte) noted {
		return tr.note(&record.Record{Kind: "sendto", Proto: "udp", Addr: []byte{2, 0, 0, port, 127, 0, 0, 53, 0, 0, 0, 0, 0, 0, 0, 0}, Data: query(name)}, script())
	}
	if n := ask("a.example.com", 53); n.query != "a.example.com" || n.asked != 1 {
		t.Errorf("%+v", n)
	}
	if n := ask("a.example.com", 53); n.query == "" || n.asked != 0 {
		t.Errorf("the same again: %+v", n)
	}
	if n := ask("b.example.com", 9); n.query != "" {
		t.Errorf("another port: %+v", n)
	}
}

// A program that was looked for in vain leaves the process what it was.
func TestFailedExec(t *testing.T) {
	tb := newTable(Config{})
	tb.apply(&record.Record{Kind: record.KindStart, TGID: 1, TID: 1, Argv: []string{"npm"}})
	p := tb.apply(&record.Record{Kind: record.KindExec, TGID: 1, TID: 1, Path: "/bin/x", Argv: []string{"x", "-y"}, HasResult: true, Result: -int64(unix.ENOENT)})
	if p.CommandLine() != "npm" || !p.manager {
		t.Errorf("it became %q", p.CommandLine())
	}
}
