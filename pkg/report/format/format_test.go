package format_test

import (
	"bytes"
	"encoding/json"
	"mime"
	"slices"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/report/format"
	"github.com/falconer-sec/falconer/pkg/report/reporttest"
)

// TestFormats: each is one JSON document, the same each time.
func TestFormats(t *testing.T) {
	for _, f := range format.All() {
		got, err := format.Parse(f.Name)
		if err != nil || got.File != f.File {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if _, _, err := mime.ParseMediaType(f.MediaType); err != nil || strings.ContainsAny(f.File, "/\\ ") {
			t.Errorf("%s: %q, %q, %v", f.Name, f.MediaType, f.File, err)
		}
		for name, d := range reporttest.Dossiers(t) {
			var a, b bytes.Buffer
			if f.Write(&a, d) != nil || f.Write(&b, d) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("%s of %s is not the same twice", f.Name, name)
			}
			if !json.Valid(a.Bytes()) || !strings.HasSuffix(a.String(), "}\n") || bytes.Contains(a.Bytes(), []byte("\x1b")) {
				t.Errorf("%s of %s is no JSON document", f.Name, name)
			}
		}
	}
}

func TestParse(t *testing.T) {
	if want := []string{"gitlab", "sarif", "osv", "cyclonedx"}; !slices.Equal(format.Names(), want) {
		t.Errorf("%q, want %q", format.Names(), want)
	}
	for _, bad := range []string{"", "json", "GitLab", "pdf"} {
		if _, err := format.Parse(bad); err == nil || !strings.Contains(err.Error(), "sarif") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestList(t *testing.T) {
	for names, want := range map[string]int{"": 0, " , ": 0, "sarif": 1, "gitlab, osv,": 2} {
		if got, err := format.List(names); err != nil || len(got) != want {
			t.Errorf("%q: %d, %v", names, len(got), err)
		}
	}
	if _, err := format.List("gitlab,pdf"); err == nil {
		t.Error("an unknown format is left out in silence")
	}
}
