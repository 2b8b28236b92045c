package sensor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"github.com/falconer-sec/falconer/pkg/sensor/remote/remotetest"
)

// TestOwnRuntime plays the session of a real pod whose runtime is Falconer's.
// Nothing is unwatched, and what stock gVisor does not tell is found.
func TestOwnRuntime(t *testing.T) {
	list := remotetest.Packets(t, "own-npm-ci.gz")
	p := &pods{known: map[string]Container{}}
	for _, b := range list[1:] {
		_, r, err := record.DecodeFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == record.KindStart {
			p.known[r.Container] = Container{ID: r.Container, Scan: testScan, Attempt: 1, Pod: "p", Judged: strings.Contains(strings.Join(r.Argv, " "), "npm ci")}
		}
	}
	r := newRig(t, p, jobs{})
	r.send(r.connect(list[0]), list[1:])
	rep := r.report()
	if !p.known[rep.Container].Judged || rep.Lost || rep.Dropped != 0 || len(rep.Incomplete) > 0 || len(rep.Unwatched) > 0 {
		t.Errorf("%+v", rep)
	}
	var want []string
	for _, found := range []string{
		"Credential file linked or moved|/tmp/l",
		"Credential file read|/home/build/.ssh/id_rsa",
		"Credential file linked or moved|/home/build/.aws/credentials",
		"Setuid bit set|/tmp/x",
		"Staged file made executable|/tmp/x",
		"Connection off the registry|203.0.113.9:443",
		"Shell started by a lifecycle script|/usr/bin/dash",
		"Credential file read|/home/build/.netrc",
	} {
		rule, what, _ := strings.Cut(found, "|")
		want = append(want, strings.Join([]string{rule, "pkg:npm/left-pat@1.3.1", "postinstall", what, string(testScan)}, " "))
	}
	if d := cmp.Diff(want, r.memory.found()); d != "" {
		t.Error(d)
	}
}
