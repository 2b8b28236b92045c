package world

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the lockfiles of the cases anew")

// TestLockfilesPinTheCases holds the lockfile of each case of this package to
// what its packages are.
func TestLockfilesPinTheCases(t *testing.T) {
	cases, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"probe", "slow"} {
		want, err := cases[name].Lockfile()
		if err != nil {
			t.Fatal(err)
		}
		file := "cases/" + name + "/package-lock.json"
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not up to date (%v): run this test with -update", file, err)
		}
	}
}
