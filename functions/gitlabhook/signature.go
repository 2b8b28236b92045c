package gitlabhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SignatureWindow is how far a signed webhook's timestamp may be from our clock.
const SignatureWindow = 300 * time.Second

// maxSignatures bounds the signatures of one webhook that are looked at.
const maxSignatures = 8

// SigningKey is a key of GitLab's webhook signatures.
type SigningKey []byte

// ParseSigningKey reads a key as GitLab shows it: "whsec_" and base64.
func ParseSigningKey(s string) (SigningKey, error) {
	encoded, ok := strings.CutPrefix(s, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < 16 {
		return nil, errors.New("a signing key is whsec_ and the base64 of at least 16 bytes") // without a word of the key
	}
	return key, nil
}

// signed is a webhook's signature as its header has it.
type signed struct {
	id, stamp  string
	signatures [][]byte
	seen       string // its key in the Memory, once it is verified
}

// readSignature reads the header; an error says why the request can't be
// authentic. It does not look at the body.
func readSignature(h http.Header, now time.Time) (signed, error) {
	s := signed{id: h.Get("webhook-id"), stamp: h.Get("webhook-timestamp")}
	seconds, err := strconv.ParseInt(s.stamp, 10, 64)
	switch {
	case s.id == "" || len(s.id) > 256:
		return s, errors.New("no webhook-id")
	case err != nil || seconds < 0 || seconds > 1<<40:
		return s, errors.New("no webhook-timestamp")
	}
	if d := now.Sub(time.Unix(seconds, 0)).Abs(); d > SignatureWindow {
		return s, fmt.Errorf("webhook-timestamp is %s off", d.Round(time.Second))
	}
	for v := range strings.SplitSeq(h.Get("webhook-signature"), " ") {
		encoded, ok := strings.CutPrefix(v, "v1,")
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if ok && err == nil && len(sum) == sha256.Size && len(s.signatures) < maxSignatures {
			s.signatures = append(s.signatures, sum)
		}
	}
	if len(s.signatures) == 0 {
		return s, errors.New("no webhook-signature of version 1")
	}
	return s, nil
}

// by reports whether one of the keys made one of the signatures. All are
// compared, each in constant time.
func (s signed) by(keys []SigningKey, body []byte) bool {
	match := false
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(s.id + "." + s.stamp + ".")) // a hash never fails to write
		_, _ = mac.Write(body)
		want := mac.Sum(nil)
		for _, got := range s.signatures {
			if hmac.Equal(want, got) {
				match = true
			}
		}
	}
	return match
}

// key identifies a signed webhook: the same message, signed at the same time.
func (s signed) key(body []byte) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d.%s.%s.", len(s.id), s.id, s.stamp)
	_, _ = h.Write(body)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
