package sensor

import "strings"

// dnsHeader is the size of a DNS message's header (RFC 1035, section 4.1.1).
const dnsHeader = 12

// question returns the first name that a DNS query asks for, without the final
// dot, "" if data is no query. Of a long message the beginning is enough; a
// name that is cut is returned as far as it goes. stream says that the message
// has its length before it, as over TCP.
func question(data []byte, stream bool) string {
	if stream {
		data = data[min(2, len(data)):]
	}
	if len(data) <= dnsHeader || data[2]&0x80 != 0 || data[4] == 0 && data[5] == 0 {
		return "" // no header, an answer, no question
	}
	var labels []string
	for rest := data[dnsHeader:]; len(rest) > 0 && rest[0] != 0; {
		n := int(rest[0])
		if n > 63 { // a pointer, or no name
			return ""
		}
		rest = rest[1:]
		labels = append(labels, strings.ToLower(string(rest[:min(n, len(rest))])))
		rest = rest[min(n, len(rest)):]
	}
	return strings.Join(labels, ".")
}
