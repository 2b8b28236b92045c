package report

import (
	"encoding/base64"
	"fmt"
	"unicode/utf8"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// maxShown bounds the bytes shown of what a process said, unless everything is.
const maxShown = 160

// network shows what was said to another machine.
func (p *printer) network(n finding.Network) {
	if n.Protocol == "" {
		return
	}
	p.detail("said", escape(n.String()))
	if p.verbose {
		for _, h := range n.Headers {
			p.detail("", escape(h))
		}
	}
	b, err := base64.StdEncoding.DecodeString(n.FirstBytes)
	if err == nil && len(b) > 0 && n.Protocol != "dns" {
		if !p.verbose {
			b = b[:min(len(b), maxShown)]
		}
		if !utf8.Valid(b) {
			p.detail("", fmt.Sprintf("%x", b))
			return
		}
		p.detail("", escape(string(b)))
	}
}
