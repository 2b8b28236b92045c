package reporter_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func TestServiceRefusesWhatCannotWork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const address, token, dir = "FALCONER_REPORT_WEBHOOK_URL", "FALCONER_REPORT_TOKEN", "FALCONER_RESULTS_DIR"
	const formats = "FALCONER_RESULTS_FORMATS"
	tests := map[string]struct {
		env   map[string]string
		names string // what the error names; "" for none
	}{
		"only the log":            {},
		"all":                     {map[string]string{address: "https://reports.example.com/hook", token: "a-good-token", dir: t.TempDir()}, ""},
		"no address":              {map[string]string{token: "a-good-token"}, address},
		"not an address":          {map[string]string{address: "reports.example.com"}, address},
		"another scheme":          {map[string]string{address: "file:///etc/passwd"}, address},
		"a short token":           {map[string]string{address: "https://reports.example.com/", token: "short"}, token},
		"a file, not a directory": {map[string]string{dir: file}, dir},
		"formats":                 {map[string]string{dir: t.TempDir(), formats: "gitlab,sarif"}, ""},
		"an unknown format":       {map[string]string{dir: t.TempDir(), formats: "gitlab,pdf"}, formats},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := reporter.Service(serve.Deps{Context: t.Context(), Log: eventtest.Log(t), Env: func(k string) string { return tt.env[k] }})
			if tt.names == "" {
				if err != nil || h == nil {
					t.Errorf("%v, %v", h, err)
				}
				return
			}
			if fault.KindOf(err) != fault.Permanent || err == nil || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("got %v, want a permanent error that names %s", err, tt.names)
			}
		})
	}
}
