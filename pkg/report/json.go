package report

import (
	"encoding/json"
	"io"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// JSON writes a result as indented JSON that follows the published schema, with
// a newline at its end. Fields keep their order, lists the result's. The error
// is w's.
func JSON(w io.Writer, r finding.Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
