package registry

import "net/url"

// SHA1Integrity makes an integrity string of a hex SHA-1.
func SHA1Integrity(shasum string) string { return hexSHA1(shasum)[0].String() }

// AuthHeader is the Authorization header for a request to address.
func AuthHeader(a Auth, address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return a.header(u)
}
