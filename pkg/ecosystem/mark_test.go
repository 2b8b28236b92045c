package ecosystem

import "testing"

func TestMark(t *testing.T) {
	for _, m := range []Mark{{State: MarkRun, Index: 12}, {State: MarkOwn}, {State: MarkLoaded, Index: 3}, {State: MarkFailed, Index: 7, Reason: "ERR_MODULE-x9"}, {State: MarkFailed},
		{State: MarkIn, Version: "1.0.0", Dir: "node_modules/@a/b"}, {State: MarkIn, Dir: "node_modules/x"}} {
		if got, ok := ParseMark(m.Path()); !ok || got != m {
			t.Errorf("%q reads as %+v, %v", m.Path(), got, ok)
		}
	}
	for _, p := range []string{"", "/dev/null", "/dev/null/import/", "/dev/null/import/run", "/dev/null/import/run/-1", "/dev/null/import/run/01", "/dev/null/import/run/1/x",
		"/dev/null/import/failed/1/", "/dev/null/import/failed/1/a b", "/dev/null/import/failed/1/a/b", "/dev/null/import/other/1", "/dev/null/import/in/1.0.0", "/dev/null/import/in/1.0.0/", "/dev/null/import/in//x", "/dev/null/import/in/-/a/../b", "/dev/null/import/run/99999999999999999999"} {
		if m, ok := ParseMark(p); ok {
			t.Errorf("%q reads as %+v", p, m)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add("/dev/null/import/failed/1/ERR_X")
	f.Fuzz(func(t *testing.T, p string) {
		m, ok := ParseMark(p)
		if ok && m.Path() != p {
			t.Errorf("%q reads as %+v, which is %q", p, m, m.Path())
		}
	})
}
