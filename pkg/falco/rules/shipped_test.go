package rules_test

import (
	"testing"

	"github.com/falconer-sec/falconer/config"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
)

// shipped loads the rules that ship with Falconer.
func shipped(t testing.TB) *rules.Set {
	t.Helper()
	set, err := rules.Load(rules.SensorFields(), shippedFile(t))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func shippedFile(t testing.TB) rules.File {
	t.Helper()
	const name = "falco/falconer_rules.yaml"
	data, err := config.Falco.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return rules.File{Name: name, Data: data}
}

func TestShippedRulesLoadWithoutNotes(t *testing.T) {
	set := shipped(t)
	for _, n := range set.Notes() {
		t.Errorf("note: %s", n)
	}
}

// A process that renamed or detached itself from npm is a package's all the
// same, where the sensor says so.
func TestSensorOverrides(t *testing.T) {
	set, err := rules.Load(rules.SensorFields(), shippedFile(t), rules.SensorOverrides())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range set.Notes() {
		t.Errorf("note: %s", n)
	}
	hidden := launcher.child("kworker", "")
	for inside, want := range map[bool]bool{true: true, false: false} {
		ev := reading(hidden, "/root/.ssh/id_rsa")
		ev.fields["falconer.in_lifecycle"] = inside
		if got := len(set.Match(ev)) == 1; got != want {
			t.Errorf("in_lifecycle %t: matched %t", inside, got)
		}
	}
	if set.Version() == shipped(t).Version() {
		t.Error("the overrides don't show in the version")
	}
}
