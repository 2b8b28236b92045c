package rules_test

import (
	"os"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
)

func TestReferenceIsComplete(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(raw)
	for _, f := range rules.SensorFields().All() {
		if !strings.Contains(doc, "| `"+f.Name) || !strings.Contains(doc, f.Doc) {
			t.Errorf("docs/rules.md lacks the field %s", f.Name)
		}
	}
	for _, r := range shipped(t).Rules() {
		if !strings.Contains(doc, r.Name+" ("+r.Priority.String()+")") {
			t.Errorf("docs/rules.md lacks the rule %q (%s)", r.Name, r.Priority)
		}
		for _, tag := range r.Tags {
			if name, ok := strings.CutPrefix(tag, falco.BehaviourTag); ok && !strings.Contains(doc, "| `"+name+"` |") {
				t.Errorf("docs/rules.md lacks the behaviour %q", name)
			}
		}
	}
	// The two examples in the reference load, after the shipped rules.
	for i, part := range strings.Split(doc, "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		if _, err := rules.Load(rules.SensorFields(), shippedFile(t), rules.File{Name: "example.yaml", Data: []byte(example)}); err != nil {
			t.Errorf("example %d: %v", i, err)
		}
	}
}
