package falcogate

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// tokens are hashes: all of one length, so that comparing tells nothing of it.
type tokens [][sha256.Size]byte

func hashed(list []string) tokens {
	var ts tokens
	for _, s := range list {
		if s != "" {
			ts = append(ts, sha256.Sum256([]byte(s)))
		}
	}
	return ts
}

// match looks at every token, whichever fits.
func (ts tokens) match(s string) bool {
	sum := sha256.Sum256([]byte(s))
	found := 0
	for i := range ts {
		found |= subtle.ConstantTimeCompare(ts[i][:], sum[:])
	}
	return found == 1
}

// fromSensor reports whether the sender is our own sensor, by its token: the
// only one who may say which scan and package an alert is of.
func (g *Gate) fromSensor(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer") && g.sensors.match(strings.TrimSpace(token))
}

// authorize returns a fault.Unauthorized error unless the sender may come in:
// by a client certificate that the TLS port has verified, or by a token. A wrong
// token is refused even where none is needed: it is a mistake that should show.
func (g *Gate) authorize(r *http.Request, cloudEvent bool) error {
	if g.fromSensor(r) || len(g.tokens) == 0 && !g.cfg.Certificates {
		return nil
	}
	value := r.Header.Get("Authorization")
	if value == "" && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return nil
	}
	if value == "" {
		if cloudEvent && g.cfg.AllowUnauthenticatedCloudEvents {
			return nil
		}
		return fault.Errorf(fault.Unauthorized, "a bearer token or a client certificate is required")
	}
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") || !g.tokens.match(strings.TrimSpace(token)) {
		return fault.Errorf(fault.Unauthorized, "the bearer token is wrong")
	}
	return nil
}
