// Package ticket lets a scan's pods, and whoever asks after a scan, prove to the
// registry service what they may have: a path that holds a scan, an attempt, an
// expiry and a keyed hash over them.
//
// Guarantees: without the key nobody makes a path that Check takes, nor turns
// one scan's, attempt's, purpose's or time's path into another's; there is
// exactly one path for each such tuple, so that a path can stand for the ticket
// in a list of used ones; the hash is compared in constant time, and an expired
// ticket is told apart from a forged one only once it has proved genuine. A
// ticket says nothing of how often it may be used: its holder's counterpart
// decides.
package ticket

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// The purposes of tickets: the first element of a path.
const (
	Source  = "source"  // the scan's source archive, once
	NPM     = "npm"     // the npm registry, as long as the scan runs
	Fetches = "fetches" // what was fetched for the scan
)

// MaxAttempt is the highest attempt that a ticket may name.
const MaxAttempt = 1_000_000

// encoding refuses a token whose last character has bits that stand for nothing.
var encoding = base64.RawURLEncoding.Strict()

// Key makes and checks tickets. See ReadKey.
type Key []byte

// String hides the key from logs.
func (Key) String() string { return "(hidden)" }

// GoString hides the key from %#v.
func (Key) GoString() string { return "(hidden)" }

// Path returns "/<purpose>/<scan ID>/<attempt>/<expiry>/<token>", good until
// expires (in whole seconds). It panics on arguments that Check would never
// take: a purpose that is not lower-case letters, an ID that is not canonical,
// an attempt outside 1 to MaxAttempt, a time before 1970.
func (k Key) Path(purpose string, id scan.ID, attempt int, expires time.Time) string {
	c, err := scan.ParseID(string(id))
	if err != nil || c != id || !letters(purpose) || attempt < 1 || attempt > MaxAttempt || expires.Unix() < 1 {
		panic(fmt.Sprintf("ticket: no such ticket: %q for scan %q, attempt %d, until %d", purpose, id, attempt, expires.Unix()))
	}
	n, at := strconv.Itoa(attempt), strconv.FormatInt(expires.Unix(), 10)
	return "/" + strings.Join([]string{purpose, string(id), n, at, encoding.EncodeToString(k.sum(purpose, string(id), n, at))}, "/")
}

// Check takes the escaped path of a request apart. rest is what follows the
// ticket: "" or a path that begins with a slash, as it stood. The error is
// fault.Invalid for what is no ticket of this purpose, and fault.Unauthorized
// for one that is not genuine or no longer good.
func (k Key) Check(purpose, path string, now time.Time) (id scan.ID, attempt int, rest string, err error) {
	t, err := parse(purpose, path)
	if err != nil {
		return "", 0, "", fault.New("ticket", fault.Invalid, err)
	}
	if !hmac.Equal(t.token, k.sum(purpose, string(t.id), strconv.Itoa(t.attempt), strconv.FormatInt(t.expires, 10))) {
		return "", 0, "", fault.Errorf(fault.Unauthorized, "ticket: it is not genuine")
	}
	if now.Unix() >= t.expires {
		return "", 0, "", fault.Errorf(fault.Unauthorized, "ticket: it expired at %s", time.Unix(t.expires, 0).UTC().Format(time.RFC3339))
	}
	return t.id, t.attempt, t.rest, nil
}

// sum is the hash over a ticket's parts, none of which can hold a "|".
func (k Key) sum(purpose, id, attempt, expires string) []byte {
	if len(k) < MinKey {
		panic("ticket: a key of less than MinKey bytes") // an unset one would let everybody in
	}
	h := hmac.New(sha256.New, k)
	h.Write([]byte(purpose + "|" + id + "|" + attempt + "|" + expires))
	return h.Sum(nil)
}

// letters reports whether s is a plain lower-case word.
func letters(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == ""
}
