package stage

import (
	"os"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// The program's exit codes, by which one tells from a failed pod what to do.
const (
	ExitDone    = 0
	ExitFailed  = 1 // the source could not be fetched or written; another attempt may work
	ExitRefused = 2 // the source's ticket has expired or was used; a new one is needed
	ExitInvalid = 3 // the archive, or the task itself, can't be used
)

// maxMessage bounds the message, in bytes; Kubernetes keeps 4096.
const maxMessage = 1000

// Exit returns an error's exit code.
func Exit(err error) int {
	switch {
	case err == nil:
		return ExitDone
	case fault.Retryable(err):
		return ExitFailed
	case fault.KindOf(err) == fault.Unauthorized:
		return ExitRefused
	}
	return ExitInvalid
}

// Message leaves err as one line in the file that Kubernetes reads a
// container's termination message from.
func Message(file string, err error) error {
	line := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if len(line) > maxMessage {
		line = strings.ToValidUTF8(line[:maxMessage], "") + "..."
	}
	return os.WriteFile(file, []byte(line), 0o644)
}
