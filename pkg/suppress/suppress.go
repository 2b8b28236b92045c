// Package suppress reads people's word that findings are no reason to worry, and
// applies it to what a scan found.
//
// Guarantees:
//   - A file is hostile input: bounded in size and in number, decoded strictly
//     (an unknown or repeated field, an anchor or a second document is an error),
//     and an error names file and line. A file with an error in it suppresses
//     nothing.
//   - A suppression that only the change under scan brings along does not count
//     (see Policy), nor does one that is expired; neither passes in silence.
//   - Nothing matches a finding whose package is only what a process claimed, nor
//     a package from elsewhere than the name says (see Canonical).
//   - It changes no finding but to mark it: what is suppressed stays in the result,
//     with who vouched for it.
package suppress

import (
	"time"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// FileName is the file at the top of a repository.
const FileName = ".falconer.yaml"

// MaxFile bounds a file, in bytes.
const MaxFile = 64 << 10

// MaxEntries bounds the suppressions of one file.
const MaxEntries = scan.MaxSuppressions / 2

// Bounds of one text, in bytes.
const (
	maxText   = 300
	maxReason = 500
	maxDetail = 600
)

// File is a file of suppressions.
type File struct {
	Name    string
	Entries []scan.Suppression // as canonical as can be, so that equal ones are equal
}

// dateForm is how the last day of a suppression is written.
const dateForm = "2006-01-02"

// Expired reports whether a suppression's last day is over.
func Expired(s scan.Suppression, at time.Time) bool {
	day, err := time.Parse(dateForm, s.Expires)
	return err != nil || !at.UTC().Before(day.AddDate(0, 0, 1))
}
