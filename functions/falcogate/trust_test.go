package falcogate

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco"
)

// TestOnlyTheSensorNamesScanAndPackage posts an alert with the sensor's fields
// as everybody who can reach the gate might.
func TestOnlyTheSensorNamesScanAndPackage(t *testing.T) {
	const text = `{"rule":"r","priority":"Critical","output":"o","time":"2026-11-20T19:00:11Z","output_fields":{"proc.cmdline":"x",
		"falconer.scan_id":"9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab","falconer.package":"pkg:npm/innocent@1.0.0","falconer.chain":["a"]}}`
	for name, tt := range map[string]struct {
		tokens, auth, kind string
		believed           bool
		status             int
	}{
		"sensor":                      {"falcosidekick", "Bearer the-sensors-token", "application/json", true, 202},
		"sensor, in a gate left open": {"", "Bearer the-sensors-token", "application/json", true, 202},
		"Falcosidekick":               {"falcosidekick", "Bearer falcosidekick", "application/json", false, 202},
		"anybody":                     {"", "", "application/json", false, 202},
		"a CloudEvent without token":  {"falcosidekick", "", "ce", false, 202},
		"another scheme":              {"", "Basic the-sensors-token", "application/json", false, 202},
		"a wrong token":               {"falcosidekick", "Bearer guessed-token", "application/json", false, 401},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{seen: map[string]bool{}}
			g, _ := gate(t, m, Config{Tokens: strings.Fields(tt.tokens), SensorTokens: []string{"the-sensors-token"}, AllowUnauthenticatedCloudEvents: true})
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(text))
			r.Header.Set("Content-Type", "application/json")
			if tt.kind == "ce" {
				for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Type": "falco.rule.output.v1", "Ce-Source": "falco.org", "Ce-Id": "1"} {
					r.Header.Set(k, v)
				}
			}
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if tt.status != 202 {
				return
			}
			it := m.list[0]
			_, scan := it.Alert.Scan()
			if scan != tt.believed || (it.Alert.Place().Package.PURL != "") != tt.believed || it.Alert.Field("proc.cmdline") != "x" {
				t.Errorf("%v", it.Alert.Fields)
			}
			if strings.Contains(string(it.Raw), falco.FieldPrefix) != tt.believed {
				t.Errorf("the text kept as evidence is %s", it.Raw)
			}
		})
	}
}
