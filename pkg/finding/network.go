package finding

import (
	"fmt"
	"strings"
)

// Network is what a process said to another machine, or would have, had the
// sandbox's sinkhole not been there in its place. All of it is the process's
// own choice.
type Network struct {
	Protocol   string   `json:"protocol"`              // "dns", "http", "https", "tls", "tcp", "udp"
	Name       string   `json:"name,omitempty"`        // host name that the address was looked up by; of a DNS query, what it asks for
	SNI        string   `json:"sni,omitempty"`         // server name in the TLS client's hello
	Request    string   `json:"request,omitempty"`     // "POST https://host/path"; of a DNS query, type and name
	Headers    []string `json:"headers,omitempty"`     // header lines of the request
	FirstBytes string   `json:"first_bytes,omitempty"` // base64: what was said first, behind the head of a request
	Sent       int64    `json:"sent,omitempty"`        // bytes said in all
	TLSRefused string   `json:"tls_refused,omitempty"` // why the client made no TLS connection: it refused the sinkhole's certificate
}

// String says it in one line, for people. It may hold any character.
func (n Network) String() string {
	parts := []string{first(n.Request, n.SNI, n.Name, n.Protocol)}
	if n.Name != "" && !strings.Contains(parts[0], n.Name) {
		parts = append(parts, "to "+n.Name)
	}
	if n.SNI != "" && n.SNI != n.Name && !strings.Contains(parts[0], n.SNI) {
		parts = append(parts, "as "+n.SNI)
	}
	if n.Protocol != "dns" && n.Sent > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes", n.Sent))
	}
	if n.TLSRefused != "" {
		parts = append(parts, "refused our certificate: "+n.TLSRefused)
	}
	return strings.Join(parts, ", ")
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
