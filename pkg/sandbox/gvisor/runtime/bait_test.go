package runtime

import (
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// The seed that a pod's trusted container brings stays: what runs later can't
// have other canaries looked for.
func TestTheFirstSeedStays(t *testing.T) {
	defer bait.Store(nil)
	if baitFrom([]string{"A=b", canary.SeedEnv + "=garbage"}); baited() != nil {
		t.Fatal("garbage is taken for a seed")
	}
	first, second := canary.Seed{1}, canary.Seed{2}
	for _, s := range []canary.Seed{first, second} {
		baitFrom([]string{"A=b", canary.SeedEnv + "=" + s.Hex()})
	}
	for s, want := range map[canary.Seed]bool{first: true, second: false} {
		r := record.Record{Kind: record.KindExec}
		value := strings.TrimPrefix(canary.New(s).Env()[0], "NPM_TOKEN=")
		if baited().Executed(&r, []string{"x", value}, nil); (r.Canary != "") != want {
			t.Errorf("seed %x...: %q", s[:1], r.Canary)
		}
	}
}

func TestEachCallHasOnePoint(t *testing.T) {
	seen := map[uintptr]string{}
	for _, p := range observed() {
		if other, ok := seen[p.sysno]; ok {
			t.Errorf("%s and %s are call %d", other, p.name, p.sysno)
		}
		seen[p.sysno] = p.name
	}
	for _, p := range carriers {
		if seen[p.sysno] != p.name {
			t.Errorf("%s is not observed", p.name)
		}
	}
}
