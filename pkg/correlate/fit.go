package correlate

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// MaxResult bounds a result as JSON, in bytes: it must fit an event.
const MaxResult = 1536 << 10

// fit shortens a result that is too large, what is needed least first, and
// says so among its reasons. Verdict and counts stay as they are: findings are
// ordered by urgency, and some remain.
func fit(r *finding.Result) {
	over := size(r) - MaxResult
	if over <= 0 {
		return
	}
	over += 1 << 10 // for the reasons given below
	if n := len(r.Log) - maxLog/8; n > 0 {
		before := size(r.Log)
		r.Log = strings.ToValidUTF8(r.Log[n:], "\uFFFD")
		over -= before - size(r.Log)
	}
	shorten(r, &r.Fetches, &over, "fetches")
	shorten(r, &r.InstallScripts, &over, "packages with install scripts")
	shorten(r, &r.Excluded, &over, "excluded files")
	shorten(r, &r.Gone, &over, "findings that are gone")
	shorten(r, &r.Reasons, &over, "reasons")
	for i := len(r.Findings) - 1; i >= 0 && over > 0; i-- {
		if e := r.Findings[i].Evidence; len(e) > 1 {
			over -= size(e[1:])
			r.Findings[i].Evidence = e[:1]
		}
	}
	for i := range r.Findings {
		if s := &r.Findings[i].Suppressed; over > 0 && len(s.Reason) > maxText/8 {
			before := len(s.Reason)
			s.Reason = cut(s.Reason, maxText/8)
			over -= before - len(s.Reason)
		}
	}
	shorten(r, &r.Findings, &over, "findings")
	shorten(r, &r.Suppressions, &over, "suppressions")
}

// shorten drops a list's last entries until over is covered or one is left.
func shorten[T any](r *finding.Result, list *[]T, over *int, what string) {
	all := len(*list)
	n := all
	for n > 1 && *over > 0 {
		n--
		*over -= size((*list)[n]) + 1
	}
	if *list = (*list)[:n]; n < all {
		r.Reasons = append(r.Reasons, fmt.Sprintf("the result was too long: %d of %d %s are listed", n, all, what))
	}
}

// size is what v takes as JSON.
func size(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return 0 // nothing in a Result can fail to encode
	}
	return len(b)
}
