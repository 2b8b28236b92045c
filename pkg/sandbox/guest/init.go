package guest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// Linger is how long processes that outlive the package manager may go on, so
// that what they do late is seen. What is left then is stopped, and reported.
const Linger = 10 * time.Second

// initScript runs its arguments as a child, waits until that and everything it
// left behind has ended, at most $1 fifths of a second, and exits as the child
// did. As the first process it adopts what detaches itself; were the package
// manager the first, its end would end them unseen.
const initScript = `n=$1; shift; "$@"; code=$?
` + stepsHere + `while [ "$n" -gt 0 ]; do set -- /proc/[0-9]*; [ "$#" -le 1 ] && break; sleep 0.2; n=$((n-1)); done
exit "$code"`

// stepsHere is where the steps after it stand in the script.
const stepsHere = "# after it\n"

// UnderInit wraps a command line for a sandbox that starts it as its first
// process, and what is to run after it if it ends well. It needs a POSIX shell
// and sleep inside.
func UnderInit(argv []string, after ...ecosystem.Step) []string {
	script := strings.Replace(initScript, stepsHere, steps(after), 1)
	return append([]string{"/bin/sh", "-c", script, "init", strconv.Itoa(int(Linger / (200 * time.Millisecond)))}, argv...)
}

// steps is the part of the script that runs what comes after. Each step has its
// time, and is killed by a process beside it when that is over.
func steps(after []ecosystem.Step) string {
	if len(after) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("if [ \"$code\" -eq 0 ]; then unset NODE_OPTIONS\n") // the install's own
	for _, s := range after {
		for _, v := range s.Env {
			name, value, _ := strings.Cut(v, "=")
			b.WriteString(name + "=" + quoted(value) + " ")
		}
		for _, a := range s.Argv {
			b.WriteString(quoted(a) + " ")
		}
		b.WriteString("</dev/null & p=$!\n")
		fmt.Fprintf(&b, "( trap 'kill $s; wait $s; exit' TERM; sleep %d & s=$!; wait $s; kill -9 $p ) 2>/dev/null & w=$!\n", int(s.Timeout.Seconds()))
		b.WriteString("wait $p; kill $w; wait $w\n")
	}
	b.WriteString("fi\n")
	return b.String()
}

// quoted is a word for a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
