package config_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/falconer-sec/falconer/functions/falcogate"
)

var settings = regexp.MustCompile(`(?m)^ *falconer\.dev/settings: (.*)$`)

// TestSettingsRoll: what runs for ever is replaced by `make deploy` when settings
// that it reads have changed, when a Secret has, and not otherwise. The cluster
// is a directory with a file for each ConfigMap and Secret.
func TestSettingsRoll(t *testing.T) {
	cluster := t.TempDir()
	kubectl := filepath.Join(t.TempDir(), "kubectl")
	script := "#!/bin/sh\n[ \"$1 $2 $3 $5\" = '-n falconer get --ignore-not-found' ] || exit 2\ncat \"" + cluster + "/$(echo \"$4\" | tr / -)\" 2>/dev/null || true\n"
	if err := os.WriteFile(kubectl, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	manifests := render(t, "nats")
	deploy := func() (gate, registry string) {
		t.Helper()
		cmd := exec.Command("../scripts/settings")
		cmd.Stdin, cmd.Env = bytes.NewReader(manifests), append(os.Environ(), "KUBECTL="+kubectl)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		sums := settings.FindAllSubmatch(out, -1)
		if len(sums) != 2 || bytes.Contains(out, []byte("configmap/")) {
			t.Fatalf("%d digests in what is applied", len(sums))
		}
		if rest := settings.ReplaceAll(out, nil); !bytes.Equal(bytes.TrimSpace(rest), bytes.TrimSpace(settings.ReplaceAll(manifests, nil))) {
			t.Error("more than the digests has changed")
		}
		// Documents are in the order of their kinds.
		before, _, _ := bytes.Cut(out, sums[0][0])
		if bytes.LastIndex(before, []byte("kind: Service\n")) > bytes.LastIndex(before, []byte("kind: Deployment\n")) {
			return string(sums[0][1]), string(sums[1][1])
		}
		return string(sums[1][1]), string(sums[0][1])
	}
	set := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(cluster, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gate, registry := deploy()
	for _, step := range []struct {
		name, text     string
		gate, registry bool // replaced
	}{
		{"nothing", "", false, false},
		{"configmap-falcogate", "FALCONER_FALCO_NATS_SUBJECT=falco.>", true, false},
		{"configmap-falcogate", "FALCONER_FALCO_NATS_SUBJECT=falco.>", false, false},
		{"configmap-falconer", "LOG_LEVEL=debug", true, true},
		{"configmap-registry", "FALCONER_NPM_REGISTRY=x", false, true},
		{"configmap-runner", "FALCONER_SANDBOX_SENSOR=falco", false, false},
		{"secret-falco-token", "uid 1", true, false},
		{"secret-falco-token", "uid 2", true, false},
	} {
		set(step.name, step.text)
		g, r := deploy()
		if (g != gate) != step.gate || (r != registry) != step.registry {
			t.Errorf("%s=%s: gate replaced %v, registry %v", step.name, step.text, g != gate, r != registry)
		}
		gate, registry = g, r
	}
}

// TestGateTLSPort: the port that leads past Knative is open to Falcosidekick, and
// to nobody else.
func TestGateTLSPort(t *testing.T) {
	all, err := decode(render(t, "falco"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, o := range all {
		p, ok := o.Object.(*networkingv1.NetworkPolicy)
		if !ok || p.Namespace != "falconer" {
			continue
		}
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				if port.Port.String() != falcogate.TLSPort {
					continue
				}
				found++
				if len(rule.From) != 1 || rule.From[0].NamespaceSelector == nil || rule.From[0].PodSelector == nil ||
					rule.From[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != "falco" ||
					rule.From[0].PodSelector.MatchLabels["app.kubernetes.io/name"] != "falcosidekick" {
					t.Errorf("%s: open to %+v", p.Name, rule.From)
				}
				if p.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"] != falcogate.Name {
					t.Errorf("%s: of %+v", p.Name, p.Spec.PodSelector)
				}
			}
		}
	}
	if found != 1 {
		t.Errorf("%d rules for the port, not 1", found)
	}
}
