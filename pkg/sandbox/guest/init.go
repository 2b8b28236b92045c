package guest

import (
	"strconv"
	"time"
)

// Linger is how long processes that outlive the package manager may go on, so
// that what they do late is seen. What is left then is stopped, and reported.
const Linger = 10 * time.Second

// initScript runs its arguments as a child, waits until that and everything it
// left behind has ended, at most $1 fifths of a second, and exits as the child
// did. As the first process it adopts what detaches itself; were the package
// manager the first, its end would end them unseen.
const initScript = `n=$1; shift; "$@"; code=$?
while [ "$n" -gt 0 ]; do set -- /proc/[0-9]*; [ "$#" -le 1 ] && break; sleep 0.2; n=$((n-1)); done
exit "$code"`

// UnderInit wraps a command line for a sandbox that starts it as its first
// process. It needs a POSIX shell and sleep inside.
func UnderInit(argv []string) []string {
	return append([]string{"/bin/sh", "-c", initScript, "init", strconv.Itoa(int(Linger / (200 * time.Millisecond)))}, argv...)
}
