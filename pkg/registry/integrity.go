package registry

import (
	"crypto/sha1" //nolint:gosec // old lockfiles pin SHA-1; npm accepts it too
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
)

// digest is one hash of an archive.
type digest struct {
	algo string // "sha512"
	sum  string // raw bytes
}

// algorithms, strongest first, as npm's ssri ranks them.
var algorithms = []string{"sha512", "sha384", "sha256", "sha1"}

func newHash(algo string) hash.Hash {
	switch algo {
	case "sha512":
		return sha512.New()
	case "sha384":
		return sha512.New384()
	case "sha256":
		return sha256.New()
	default:
		return sha1.New() //nolint:gosec // see above
	}
}

// maxIntegrity bounds a Subresource Integrity string, in bytes.
const maxIntegrity = 4096

// parseIntegrity returns the digests of the strongest algorithm that a
// Subresource Integrity string names; the content has to match one of them.
// Unknown algorithms and malformed digests are left out.
func parseIntegrity(s string) []digest {
	if len(s) > maxIntegrity {
		return nil
	}
	var all []digest
	for word := range strings.FieldsSeq(s) {
		algo, rest, ok := strings.Cut(word, "-")
		rest, _, _ = strings.Cut(rest, "?") // options
		if !ok || !slices.Contains(algorithms, algo) {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(rest)
		if err != nil || len(sum) != newHash(algo).Size() {
			continue
		}
		all = append(all, digest{algo, string(sum)})
	}
	for _, algo := range algorithms {
		best := slices.DeleteFunc(slices.Clone(all), func(d digest) bool { return d.algo != algo })
		if len(best) > 0 {
			return best
		}
	}
	return nil
}

// String returns d as a Subresource Integrity string.
func (d digest) String() string {
	return d.algo + "-" + base64.StdEncoding.EncodeToString([]byte(d.sum))
}

func (d digest) hex() string { return hex.EncodeToString([]byte(d.sum)) }

// hexSHA1 makes a digest of a packument's old "shasum" field.
func hexSHA1(shasum string) []digest {
	sum, err := hex.DecodeString(shasum)
	if err != nil || len(sum) != sha1.Size {
		return nil
	}
	return []digest{{"sha1", string(sum)}}
}
