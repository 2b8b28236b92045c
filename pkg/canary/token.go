package canary

import (
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"strings"
)

// checked is a token as GitHub and npm make them: a prefix, 30 random
// characters, and their CRC-32 in base 62, six digits.
// https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
func (r *stream) checked(prefix string) string {
	const alphabet = digits + upper + lower
	random := r.text(base62, 30)
	sum := crc32.ChecksumIEEE([]byte(random))
	tail := make([]byte, 6)
	for i := len(tail) - 1; i >= 0; i-- {
		tail[i] = alphabet[sum%62]
		sum /= 62
	}
	return prefix + random + string(tail)
}

// awsID is an access key's ID: AKIA and 16 characters of RFC 4648's base 32.
func (r *stream) awsID() string { return "AKIA" + r.text(upper+"234567", 16) }

// awsSecret is an access key's secret: 40 characters of base 64.
func (r *stream) awsSecret() string {
	return r.text(base62, 18) + "/" + r.text(base62, 7) + "+" + r.text(base62, 13)
}

// jwt is a JSON web token with a signature that fits no key.
func (r *stream) jwt(header, claims map[string]any) string {
	part := func(v map[string]any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic("canary: strings and numbers always encode: " + err.Error())
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(header) + "." + part(claims) + "." + r.text(base62, 342)
}

// after returns what follows the last sep: the part of a token that no other
// token shares.
func after(token, sep string) string { return token[strings.LastIndex(token, sep)+len(sep):] }
