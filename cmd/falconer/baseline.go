package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// maxBaseline bounds the file of a baseline, in bytes.
const maxBaseline = 256 << 20

// baseline is what `falconer scan --format json` wrote before: a document for each
// project root.
type baseline struct {
	name    string
	results []finding.Result
}

// readBaseline reads a file of results.
func readBaseline(name string) (baseline, error) {
	b := baseline{name: filepath.Base(name)}
	f, err := os.Open(name)
	if err != nil {
		return b, fmt.Errorf("--baseline: %w", err)
	}
	defer f.Close()
	limited := &io.LimitedReader{R: f, N: maxBaseline}
	for d := json.NewDecoder(limited); ; {
		var r finding.Result
		switch err := d.Decode(&r); {
		case errors.Is(err, io.EOF) && limited.N > 0 && len(b.results) > 0:
			return b, nil
		case limited.N <= 0:
			return b, fmt.Errorf("--baseline: %s is larger than %d bytes", name, maxBaseline)
		case err != nil:
			return b, fmt.Errorf("--baseline: %s is no result of falconer scan --format json: %w", name, err)
		case !strings.HasPrefix(r.SchemaVersion, "1.") || r.ScanID == "" || r.Verdict == "":
			return b, fmt.Errorf("--baseline: %s is no result of falconer scan --format json", name)
		}
		b.results = append(b.results, r)
	}
}

// of returns the good result of a request's project root, nil for none.
func (b baseline) of(q scan.Request) *finding.Result {
	for i := range b.results {
		if r := &b.results[i]; r.Root == q.Root && r.Manager == q.Manager && r.Good() {
			return r
		}
	}
	return nil
}
