package scan_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
)

var key = scan.Key{Project: "group/app", Commit: "c0ffee", Root: ".", Manager: "npm", Lockfile: "sha256:1", Recipe: "npm-1", Rules: "r1"}

// TestID holds the IDs of released versions: results are stored under them.
func TestID(t *testing.T) {
	if got := key.ID(); got != "5080573c-38f3-589b-b3c4-de41949d8959" {
		t.Errorf("got %s: stored results would no longer be found", got)
	}
	if got, err := scan.ParseID(strings.ToUpper(string(key.ID()))); err != nil || got != key.ID() {
		t.Errorf("canonical form: %s, %v", got, err)
	}
	seen := map[scan.ID]string{key.ID(): "unchanged"}
	for i := range reflect.TypeOf(key).NumField() {
		k := key
		reflect.ValueOf(&k).Elem().Field(i).SetString("other")
		name := reflect.TypeOf(key).Field(i).Name
		if before, ok := seen[k.ID()]; ok {
			t.Errorf("another %s has the ID of %s", name, before)
		}
		seen[k.ID()] = name
	}
	a, b := key, key
	a.Project, a.Commit = "ab", "c"
	b.Project, b.Commit = "a", "bc"
	if a.ID() == b.ID() {
		t.Error("fields run into each other")
	}
}

func TestParseID(t *testing.T) {
	for _, s := range []string{"", "x", "urn:uuid:5c1b0dcb-70dd-5e55-8be2-7fd5ba5d6c0b", "{5c1b0dcb-70dd-5e55-8be2-7fd5ba5d6c0b}", "5c1b0dcb70dd5e558be27fd5ba5d6c0b", "../../../../../../../../../etc/passwd", "5c1b0dcb-70dd-5e55-8be2-7fd5ba5d6c0."} {
		if id, err := scan.ParseID(s); err == nil {
			t.Errorf("%q is taken for %s", s, id)
		}
	}
}

func TestValidate(t *testing.T) {
	good := scan.Request{ID: key.ID(), Project: "p", Manager: "npm", Root: "a/b", Lockfile: "package-lock.json", Source: scan.Source{Object: "o", Digest: "d"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*scan.Request){
		"ID":               func(r *scan.Request) { r.ID = "x" },
		"project":          func(r *scan.Request) { r.Project = "" },
		"manager":          func(r *scan.Request) { r.Manager = "" },
		"source":           func(r *scan.Request) { r.Source.Object = "" },
		"priority":         func(r *scan.Request) { r.Priority = 3 },
		"root above":       func(r *scan.Request) { r.Root = "../x" },
		"root absolute":    func(r *scan.Request) { r.Root = "/etc" },
		"root not clean":   func(r *scan.Request) { r.Root = "a/../../b" },
		"root empty":       func(r *scan.Request) { r.Root = "" },
		"root with NUL":    func(r *scan.Request) { r.Root = "a\x00b" },
		"lockfile above":   func(r *scan.Request) { r.Lockfile = "../package-lock.json" },
		"timeout negative": func(r *scan.Request) { r.TimeoutSeconds = -1 },
		"timeout too long": func(r *scan.Request) { r.TimeoutSeconds = int(scan.MaxTimeout/time.Second) + 1 },
	} {
		r := good
		spoil(&r)
		if r.Validate() == nil {
			t.Errorf("a bad %s is taken", name)
		}
	}
}
