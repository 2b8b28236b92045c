// Package report renders scan results: as text for a human at a terminal and
// as JSON for programs.
//
// Guarantees: what the text shows of a package's doing can't drive the
// terminal (control characters, escape sequences and bidirectional overrides
// are shown, not sent) and is bounded in length; the JSON is the same bytes for
// the same result and follows the published schema (see Schema).
package report
