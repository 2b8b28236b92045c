package gitlabreport

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// details is the evidence, in fields that GitLab shows as plain text.
func details(i dossier.Issue, s dossier.Scan) map[string]Field {
	f := map[string]Field{}
	put := func(key, name, value string) {
		if value != "" {
			f[key] = Field{Name: name, Type: "text", Value: &value}
		}
	}
	put("purl", "Package URL", i.Package.PURL)
	put("path", "Installed at", i.Package.Path)
	put("scripts", "Lifecycle scripts", strings.Join(i.Scripts, ", "))
	put("behaviours", "Behaviours", strings.Join(i.Behaviours, ", "))
	put("count", "Occurrences", strconv.FormatInt(i.Count, 10))
	put("baseline", "Compared with the target branch", string(i.State))
	put("previous", "The version before did the same", i.Previous)
	put("suppressed", "Suppressed", i.Suppressed)
	put("scan", "Scan", s.ID)
	for n, e := range i.Evidence {
		key := fmt.Sprintf("evidence_%d", n+1)
		f[key] = Field{Name: fmt.Sprintf("Evidence %d", n+1), Type: "list", Items: occurrence(e)}
	}
	return f
}

// occurrence lists what is known of one.
func occurrence(e dossier.Evidence) []Field {
	var items []Field
	put := func(kind, label, value string) {
		if value != "" {
			text := label + value
			items = append(items, Field{Type: kind, Value: &text})
		}
	}
	if !e.Time.IsZero() {
		put("text", "time: ", e.Time.Format("2006-01-02T15:04:05.000Z"))
	}
	put("text", "file: ", e.File)
	put("text", "address: ", e.Address)
	put("text", "said: ", e.Said)
	put("code", "", e.Command)
	put("code", "", tree(e.Chain))
	put("text", "", e.Output)
	if len(items) == 0 {
		put("text", "", "nothing more is known")
	}
	return items
}

// tree writes a process chain, the acting process last and deepest.
func tree(chain []string) string {
	var b strings.Builder
	for n, c := range chain {
		if n > 0 {
			b.WriteString("\n" + strings.Repeat("  ", n) + "- ")
		}
		b.WriteString(c)
	}
	return b.String()
}
