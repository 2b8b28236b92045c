package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// The lines of a document between which the figures stand.
const (
	documentBegin = "<!-- figures: begin (written by make bench) -->\n"
	documentEnd   = "<!-- figures: end -->\n"
)

// WriteDocument replaces what stands between the marks of a document with this
// run's figures. A document without the marks is an error, and left alone.
func (r *Run) WriteDocument(name string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, begins := bytes.Cut(old, []byte(documentBegin))
	_, foot, ends := bytes.Cut(rest, []byte(documentEnd))
	if !begins || !ends {
		return fmt.Errorf("%s lacks the lines %q and %q", name, documentBegin, documentEnd)
	}
	var b bytes.Buffer
	b.Write(head)
	b.WriteString(documentBegin + "\n")
	if err := r.Markdown(&b); err != nil {
		return err
	}
	b.WriteString("\n" + documentEnd)
	b.Write(foot)
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// WriteJSON writes the results to a file, making its folder.
func (r *Run) WriteJSON(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
