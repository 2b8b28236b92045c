package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/eventtest"
)

func TestGuard(t *testing.T) {
	for name, test := range map[string]struct {
		tokens []string
		method string
		remote string
		host   string
		header map[string]string
		want   int
	}{
		"loopback":               {nil, "GET", "127.0.0.1:1", "127.0.0.1:8080", nil, 200},
		"localhost":              {nil, "GET", "127.8.9.1:1", "LOCALHOST", nil, 200},
		"IPv6":                   {nil, "GET", "[::1]:1", "[::1]:8080", nil, 200},
		"IPv6 without port":      {nil, "GET", "[::1]:1", "[::1]", nil, 200},
		"mapped":                 {nil, "GET", "[::ffff:127.0.0.1]:1", "localhost:8080", nil, 200},
		"other machine":          {nil, "GET", "192.0.2.1:1", "127.0.0.1:8080", nil, 403},
		"no address":             {nil, "GET", "@", "localhost", nil, 403},
		"rebinding":              {nil, "GET", "127.0.0.1:1", "attacker.example.com:8080", nil, 421},
		"rebinding subdomain":    {nil, "GET", "127.0.0.1:1", "localhost.example.com", nil, 421},
		"rebinding digits":       {nil, "GET", "127.0.0.1:1", "127.0.0.1.example.com", nil, 421},
		"no host":                {nil, "GET", "127.0.0.1:1", "", nil, 421},
		"other site":             {nil, "POST", "127.0.0.1:1", "localhost", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"other site, old":        {nil, "POST", "127.0.0.1:1", "localhost", map[string]string{"Origin": "https://evil.example.com"}, 403},
		"forwarded means little": {nil, "GET", "192.0.2.1:1", "localhost", map[string]string{"X-Forwarded-For": "127.0.0.1"}, 403},
		"token":                  {[]string{"a", "b"}, "GET", "192.0.2.1:1", "falconer.example.com", map[string]string{"Authorization": "Bearer b"}, 200},
		"token, odd case":        {[]string{"a"}, "GET", "192.0.2.1:1", "h", map[string]string{"Authorization": "bearer a"}, 200},
		"wrong token":            {[]string{"a"}, "GET", "127.0.0.1:1", "localhost", map[string]string{"Authorization": "Bearer b"}, 401},
		"no token":               {[]string{"a"}, "GET", "127.0.0.1:1", "localhost", nil, 401},
		"basic":                  {[]string{"a"}, "GET", "127.0.0.1:1", "localhost", map[string]string{"Authorization": "Basic a"}, 401},
		"empty bearer":           {[]string{"a"}, "GET", "127.0.0.1:1", "localhost", map[string]string{"Authorization": "Bearer "}, 401},
		"empty token is none":    {[]string{""}, "GET", "192.0.2.1:1", "localhost", map[string]string{"Authorization": "Bearer "}, 403},
		"token, other site":      {[]string{"a"}, "POST", "127.0.0.1:1", "localhost", map[string]string{"Authorization": "Bearer a", "Sec-Fetch-Site": "cross-site"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			reached := false
			h := api.Guard(api.Access{Tokens: test.tokens}, eventtest.Log(t), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
			r := httptest.NewRequest(test.method, "/", nil)
			r.RemoteAddr, r.Host = test.remote, test.host
			for k, v := range test.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.want || reached != (test.want == 200) {
				t.Errorf("status %d, reached %v; want %d", w.Code, reached, test.want)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}
