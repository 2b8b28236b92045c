package report

import (
	"fmt"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// imports says which packages could not be loaded after the install: what they
// would have done then was not seen.
func (p *printer) imports(got *finding.Imports) {
	if got == nil || len(got.Failed) == 0 {
		return
	}
	var list []string
	for _, f := range got.Failed {
		who := f.PURL
		if who == "" {
			who = f.Name
		}
		list = append(list, fmt.Sprintf("%s: %s", who, f.Reason))
	}
	if got.Unlisted > 0 {
		list = append(list, fmt.Sprintf("and %d more", got.Unlisted))
	}
	p.list(fmt.Sprintf("Not loaded after the install (%d were)", got.Loaded), list)
}
