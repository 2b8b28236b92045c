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
