// Package rules loads rules written in Falco's rule language and evaluates
// them against events.
//
// It guarantees:
//
//   - A rule that loads means what it means to Falco (engine 0.46 and later);
//     the comparison operators, absent fields, pattern matching, lists, macros,
//     exceptions and overrides follow falcosecurity/libs.
//   - What it cannot evaluate it refuses at load, with file, line, column and
//     reason: an unknown field or operator, an operator that does not fit the
//     field's type, an undefined list or macro, a condition that can't ever be
//     true. No rule is skipped in silence; what is legal yet worth knowing is in
//     Set.Notes.
//   - Loading is bounded (see the Max constants) and never panics, whatever the
//     bytes. Evaluation has no loops beyond an event's own ancestors and values,
//     and its regular expressions run in linear time.
//   - An event only meets the rules that can match its type: conditions are
//     specialised for each event type at load. Expressions that several rules
//     share (macros) are evaluated once an event.
//   - A Set is immutable and safe for concurrent use.
//
// Values in events are chosen by attackers. They are compared and copied, never
// interpreted: no value is a pattern, a format or a path.
package rules

// Limits that Load enforces.
const (
	MaxFileBytes      = 1 << 20 // bytes of one file
	MaxFiles          = 64      // files of one Set
	MaxConditionBytes = 64 << 10
	MaxDepth          = 200     // nesting of parentheses, not and transformers
	MaxListItems      = 20_000  // items of one list after expansion
	MaxTerms          = 20_000  // nodes of one condition after macro expansion
	MaxItems          = 20_000  // lists, macros and rules of one Set
	MaxErrors         = 50      // errors that Load reports before it gives up
	MaxOutputBytes    = 8 << 10 // bytes of a rule's output template
	MaxValueBytes     = 4 << 10 // bytes of one value in a rendered output
	maxEngineMinor    = 63      // newest engine version (0.63) whose rules we read
)
