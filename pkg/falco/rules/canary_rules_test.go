package rules_test

import (
	"slices"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// planted is an event with a canary.
func planted(ev *event, name, where string) *event {
	ev.fields["falconer.canary"], ev.fields["falconer.canary.where"] = name, where
	ev.fields["falconer.in_lifecycle"], ev.fields["evt.failed"] = true, false
	return ev
}

func TestCanaryRules(t *testing.T) {
	set, err := rules.Load(rules.SensorFields(), shippedFile(t), rules.SensorOverrides(), rules.CanaryRules())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range set.Notes() {
		t.Errorf("note: %s", n)
	}
	to := func(typ, where string) *event {
		return planted(network(typ, script, "192.0.2.1:443", "tcp"), "npm token", where)
	}
	file := func(name, canary string) *event {
		return planted(newEvent("write", script, map[string]any{"fd.name": name}), canary, "file")
	}
	failed, outside := planted(executing(script), "npm token", "argument"), planted(executing(script), "npm token", "argument")
	failed.fields["evt.failed"] = true
	outside.fields["falconer.in_lifecycle"] = false
	const sent, copied, read = "Planted credential sent", "Planted credential copied", "Planted credential read"
	for name, tt := range map[string]struct {
		ev   *event
		want string
	}{
		"sent":                {to("write", "connection"), sent},
		"heard":               {to(record.KindHeard, "connection"), sent},
		"in a name":           {to("sendmmsg", "name"), sent},
		"as an argument":      {planted(executing(script), "npm token", "argument"), sent},
		"to a variable":       {planted(executing(script), "npm token", "environment"), copied},
		"to a file":           {file("/tmp/x", "variable NPM_TOKEN"), copied},
		"in a file's name":    {planted(reading(script, "/tmp/x"), "npm token", "path"), copied},
		"where it belongs":    {file("/builds/project/.npmrc", "variable NPM_TOKEN"), ""},
		"where others belong": {file("/builds/project/.npmrc", "AWS key"), copied},
		"read":                {planted(reading(script, "/root/.config/shipyard/session.json"), "deploy token", "read"), read},
		"settings read":       {planted(reading(script, "/builds/project/.env"), "project settings (.env)", "read"), ""},
		"not executed":        {failed, ""},
		"no package's":        {outside, ""},
	} {
		var got []string
		for _, n := range matched(set, tt.ev) {
			if slices.Contains([]string{sent, copied, read}, n) {
				got = append(got, n)
			}
		}
		if len(got) > 1 || len(got) == 1 && got[0] != tt.want || len(got) == 0 && tt.want != "" {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
