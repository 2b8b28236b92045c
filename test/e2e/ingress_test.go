package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/api"
)

// The broker's address takes CloudEvents in all modes, and refuses what is
// none.
func TestIngress(t *testing.T) {
	a := newAccount(t)
	s := a.serve()
	const path = "/falconer/default"
	const structured, batch = "application/cloudevents+json", "application/cloudevents-batch+json"
	one := func(id string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":"com.example.thing","data":{"n":1}}`, id)
	}
	binary := func(more ...string) []string {
		return append([]string{"Content-Type", "application/json", "Ce-Specversion", "1.0", "Ce-Type", "com.example.thing", "Ce-Source", "/test"}, more...)
	}
	big := `{"specversion":"1.0","id":"big","source":"/test","type":"com.example.thing","data":"` + strings.Repeat("x", 64<<20) + `"}`
	for name, test := range map[string]struct {
		path, body string
		headers    []string
		want       int
	}{
		"binary":                {path, `{"n":1}`, binary("Ce-Id", "binary"), 202},
		"binary, again":         {path, `{"n":1}`, binary("Ce-Id", "binary"), 202},
		"structured":            {path, one("structured"), []string{"Content-Type", structured}, 202},
		"batch":                 {path, "[" + one("first") + "," + one("second") + "]", []string{"Content-Type", batch}, 202},
		"empty batch":           {path, "[]", []string{"Content-Type", batch}, 202},
		"batch with a bad one":  {path, "[" + one("third") + `,{"id":"x"}]`, []string{"Content-Type", batch}, 400},
		"no ID":                 {path, `{}`, binary(), 400},
		"wrong version":         {path, `{}`, []string{"Content-Type", "application/json", "Ce-Specversion", "0.1", "Ce-Type", "a", "Ce-Source", "b", "Ce-Id", "c"}, 400},
		"no event":              {path, `{"hello":"world"}`, []string{"Content-Type", "application/json"}, 400},
		"broken JSON":           {path, `{"specversion":`, []string{"Content-Type", structured}, 400},
		"deep JSON":             {path, strings.Repeat("[", 100000), []string{"Content-Type", batch}, 400},
		"hostile type":          {path, strings.Replace(one("esc"), "com.example.thing", `\u001b[2J`, 1), []string{"Content-Type", structured}, 400},
		"too large":             {path, big, []string{"Content-Type", structured}, 413},
		"another broker":        {"/falconer/other", one("x"), []string{"Content-Type", structured}, 404},
		"a path too many":       {path + "/more", one("x"), []string{"Content-Type", structured}, 404},
		"a name that goes down": {"/falconer/..%2fdefault", one("x"), []string{"Content-Type", structured}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			if code, body := s.post(test.path, []byte(test.body), test.headers...); code != test.want {
				t.Errorf("%d, want %d: %.300s", code, test.want, body)
			}
		})
	}
	eventually(t, "the accepted events are in the log, each once", func() (string, bool) {
		seen := map[string]int{}
		for _, e := range s.events(api.Query{Type: "com.example.thing"}) {
			seen[e.Event.ID()]++
		}
		return fmt.Sprint(seen), fmt.Sprint(seen) == "map[binary:1 first:1 second:1 structured:1]"
	})
	// Our own types with data that is not theirs: refused by the functions, not
	// fatal to them, and kept for a look.
	for n, typ := range []string{"scan.requested", "scan.started", "sandbox.exited", "scan.finished", "falco.alert", "repo.push"} {
		body := fmt.Sprintf(`{"specversion":"1.0","id":"forged-%d","source":"/test","type":"dev.falconer.%s.v1","subject":"x","data":{"scan_id":5}}`, n, typ)
		if code, answer := s.post(path, []byte(body), "Content-Type", structured); code != http.StatusAccepted {
			t.Errorf("%s: %d %s", typ, code, answer)
		}
	}
	eventually(t, "forged events are dead letters or rejected", func() (string, bool) {
		page, err := s.api.DeadLetters(t.Context(), 100)
		rejected := s.count("scan.rejected", "")
		return fmt.Sprintf("%v: %d letters, %d rejected", err, len(page.Letters), rejected), err == nil && len(page.Letters)+rejected >= 6
	})
	if o := a.falconer("replay", "--server", s.url); o.code != 0 || !strings.Contains(o.out, "correlator") {
		t.Errorf("falconer replay: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	if strings.Contains(s.errout.String(), "panic") {
		t.Errorf("a panic:\n%s", s.errout)
	}
	id := s.submit("clean", project(t, "benign-plain"), 0).ID
	if r := s.result(id); r.Verdict != "clean" {
		t.Errorf("afterwards: verdict %s, %q", r.Verdict, r.Incomplete)
	}
	s.stop()
}
