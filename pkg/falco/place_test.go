package falco

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

func TestScan(t *testing.T) {
	const one, two = "9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab", "1b2f6a4e-3c1d-5e8f-a7b6-0123456789ab"
	tests := map[string]struct {
		fields map[string]any
		want   scan.ID
	}{
		"none":               {nil, ""},
		"sensor":             {map[string]any{FieldScanID: one}, one},
		"upper case":         {map[string]any{FieldScanID: "9B2F6A4E-3C1D-5E8F-A7B6-0123456789AB"}, one},
		"env":                {map[string]any{"proc.env[FALCONER_SCAN_ID]": one}, one},
		"label":              {map[string]any{"k8s.pod.label[falconer.dev/scan-id]": one}, one},
		"pod":                {map[string]any{"k8s.pod.name": "falconer-scan-" + one + "-x7k2p"}, one},
		"job":                {map[string]any{"k8s.job.name": "falconer-scan-" + one}, one},
		"label beats env":    {map[string]any{"k8s.pod.label[falconer.dev/scan-id]": one, "proc.env[FALCONER_SCAN_ID]": two}, one},
		"sensor beats pod":   {map[string]any{FieldScanID: one, "k8s.pod.name": "falconer-scan-" + two}, one},
		"hostile passed by":  {map[string]any{FieldScanID: "../../etc/passwd", "proc.env[FALCONER_SCAN_ID]": two}, two},
		"wildcard":           {map[string]any{"proc.env[FALCONER_SCAN_ID]": ">"}, ""},
		"braces":             {map[string]any{FieldScanID: "{" + one + "}"}, ""},
		"urn":                {map[string]any{FieldScanID: "urn:uuid:" + one}, ""},
		"36 but not hex":     {map[string]any{FieldScanID: "9b2f6a4e-3c1d-5e8f-a7b6-0123456789a>"}, ""},
		"number":             {map[string]any{FieldScanID: 5}, ""},
		"pod without suffix": {map[string]any{"k8s.pod.name": "falconer-scan-" + one + "x"}, ""},
		"other pod":          {map[string]any{"k8s.pod.name": "web-" + one}, ""},

		"pod in our namespace":        {map[string]any{"k8s.ns.name": SandboxNamespace, "k8s.pod.name": "falconer-scan-" + one + "-x7k2p"}, one},
		"label in our namespace":      {map[string]any{"k8s.ns.name": SandboxNamespace, "k8s.pod.label[falconer.dev/scan-id]": one}, one},
		"imitated pod":                {map[string]any{"k8s.ns.name": "web", "k8s.pod.name": "falconer-scan-" + one + "-x7k2p"}, ""},
		"imitated label":              {map[string]any{"k8s.ns.name": "web", "k8s.pod.name": "front-1", "k8s.pod.label[falconer.dev/scan-id]": one}, ""},
		"imitated Job":                {map[string]any{"k8s.ns.name": "web", "k8s.job.name": "falconer-scan-" + one}, ""},
		"imitated marker":             {map[string]any{"k8s.ns.name": "web", "k8s.pod.name": "front-1", "proc.env[FALCONER_SCAN_ID]": one}, ""},
		"marker, namespace alone":     {map[string]any{"k8s.ns.name": "web", "proc.env[FALCONER_SCAN_ID]": one}, ""},
		"marker, our namespace alone": {map[string]any{"k8s.ns.name": SandboxNamespace, "proc.env[FALCONER_SCAN_ID]": one}, one},
		"marker in a named pod":       {map[string]any{"k8s.pod.name": "front-1", "proc.env[FALCONER_SCAN_ID]": one}, ""},
		"another scan's marker":       {map[string]any{"k8s.ns.name": SandboxNamespace, "k8s.pod.name": "falconer-scan-" + one + "-x7k2p", "proc.env[FALCONER_SCAN_ID]": two}, one},
		"marker in our other pod":     {map[string]any{"k8s.ns.name": SandboxNamespace, "k8s.pod.name": "debug", "proc.env[FALCONER_SCAN_ID]": one}, ""},
		"namespace with a prefix":     {map[string]any{"k8s.ns.name": SandboxNamespace + "-2", "k8s.pod.name": "falconer-scan-" + one}, ""},
		"namespace not known":         {map[string]any{"k8s.ns.name": nil, "k8s.pod.name": "falconer-scan-" + one}, one},
		"not applicable":              {map[string]any{"k8s.ns.name": "<NA>", "k8s.pod.name": "<NA>", "proc.env[FALCONER_SCAN_ID]": one}, one},
		"sensor, whatever is named":   {map[string]any{FieldScanID: one, "k8s.ns.name": "web"}, one},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := Alert{Fields: tt.fields}.Scan()
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v; want %q", got, ok, tt.want)
			}
		})
	}
}

// TestScanInAnotherNamespace: where scans run can be set.
func TestScanInAnotherNamespace(t *testing.T) {
	const one = "9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab"
	for namespace, want := range map[string]scan.ID{"scans": one, SandboxNamespace: ""} {
		a := Alert{Fields: map[string]any{"k8s.ns.name": namespace, "k8s.pod.name": "falconer-scan-" + one}}
		if got, _ := a.ScanIn("scans"); got != want {
			t.Errorf("in %s: %q, want %q", namespace, got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	tests := map[string]struct {
		fields map[string]any
		want   Place
	}{
		"none": {nil, Place{}},
		"sensor": {
			map[string]any{FieldPackage: "pkg:npm/%40acme/tool@1.0.0", FieldPath: "node_modules/@acme/tool", FieldScript: "postinstall", FieldPhase: "install", "proc.env[npm_package_name]": "liar"},
			Place{Package: finding.Package{PURL: "pkg:npm/%40acme/tool@1.0.0", Name: "@acme/tool", Version: "1.0.0", Path: "node_modules/@acme/tool"}, Script: "postinstall", Phase: "install"},
		},
		"sensor without package": {map[string]any{FieldPhase: "install", "proc.env[npm_package_name]": "liar"}, Place{Phase: "install"}},
		"env": {
			map[string]any{"proc.env[npm_package_name]": "@acme/evil-pkg", "proc.env[npm_package_version]": "1.2.3+b", "proc.env[npm_lifecycle_event]": "preinstall"},
			Place{Package: finding.Package{PURL: "pkg:npm/%40acme/evil-pkg@1.2.3+b", Name: "@acme/evil-pkg", Version: "1.2.3+b"}, Script: "preinstall", Phase: "install", Claimed: true},
		},
		"env without version": {
			map[string]any{"proc.env[npm_package_name]": "left-pad"},
			Place{Package: finding.Package{PURL: "pkg:npm/left-pad", Name: "left-pad"}, Claimed: true},
		},
		"env script only": {
			map[string]any{"proc.env[npm_package_name]": "", "proc.env[npm_lifecycle_event]": "postinstall"},
			Place{Script: "postinstall", Phase: "install", Claimed: true},
		},
		"hostile env": {map[string]any{"proc.env[npm_package_name]": "a/../../b\n", "proc.env[npm_lifecycle_event]": "<script>"}, Place{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Alert{Fields: tt.fields}.Place()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
