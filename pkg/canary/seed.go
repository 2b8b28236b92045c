package canary

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// SeedSize is a seed's size in bytes.
const SeedSize = 32

// SeedEnv is the variable that hands a seed, in Hex, to the trusted container
// that prepares a pod. No other container has it.
const SeedEnv = "FALCONER_STAGE_CANARY"

// Seed is what all fake credentials of one scan derive from. Whoever knows it
// can tell the scan's canaries from real credentials: it stays outside of the
// sandbox.
type Seed [SeedSize]byte

// NewSeed makes a seed that nobody can guess.
func NewSeed() Seed {
	var s Seed
	_, _ = rand.Read(s[:]) // never fails (crypto/rand)
	return s
}

// Derive makes the seed of one attempt of a scan from a secret key. Whoever has
// the key can make it again.
func Derive(key []byte, scan string, attempt int) Seed {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte("canary|" + scan + "|" + strconv.Itoa(attempt))) // a hash never fails
	return Seed(mac.Sum(nil))
}

// ParseSeed reads what Hex wrote. The error is fault.Invalid and does not
// repeat the text.
func ParseSeed(text string) (Seed, error) {
	var s Seed
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != SeedSize {
		return s, fault.Errorf(fault.Invalid, "canary: a seed is %d hexadecimal digits", 2*SeedSize)
	}
	copy(s[:], b)
	return s, nil
}

// Hex is the seed for another process of ours.
func (s Seed) Hex() string { return hex.EncodeToString(s[:]) }

// String keeps a seed out of logs.
func (Seed) String() string { return "canary seed" }

// The alphabets of tokens.
const (
	digits   = "0123456789"
	upper    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower    = "abcdefghijklmnopqrstuvwxyz"
	base62   = digits + upper + lower
	lowerHex = "0123456789abcdef"
)

// stream is an endless sequence of bytes for one purpose: HMAC-SHA256 of the
// purpose and a counter.
type stream struct {
	seed    Seed
	purpose string
	block   uint64
	rest    []byte
}

func (s Seed) stream(purpose string) *stream { return &stream{seed: s, purpose: purpose} }

func (r *stream) bytes(n int) []byte {
	out := make([]byte, 0, n)
	for len(out) < n {
		if len(r.rest) == 0 {
			mac := hmac.New(sha256.New, r.seed[:])
			_, _ = mac.Write(binary.BigEndian.AppendUint64([]byte(r.purpose), r.block)) // a hash never fails
			r.rest, r.block = mac.Sum(nil), r.block+1
		}
		take := min(n-len(out), len(r.rest))
		out, r.rest = append(out, r.rest[:take]...), r.rest[take:]
	}
	return out
}

// text draws n characters of an alphabet, each as likely as the other.
func (r *stream) text(alphabet string, n int) string {
	out := make([]byte, 0, n)
	limit := 256 - 256%len(alphabet)
	for len(out) < n {
		if b := int(r.bytes(1)[0]); b < limit {
			out = append(out, alphabet[b%len(alphabet)])
		}
	}
	return string(out)
}

// uuid draws a version 4 UUID.
func (r *stream) uuid() string {
	b := r.bytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
