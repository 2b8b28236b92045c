package sensor

import "strings"

// unrooted drops /proc/PID/root from the beginning of a path: in a sandbox,
// every process has the same root, and what is below it is known by its plain
// name. (Where an open succeeds, the kernel has resolved it.)
func unrooted(p string) string {
	for {
		rest, ok := strings.CutPrefix(p, "/proc/")
		if !ok {
			return p
		}
		who, rest, ok := strings.Cut(rest, "/root/")
		if !ok || who == "" || strings.Contains(who, "/") && !strings.Contains(who, "/task/") {
			return p
		}
		p = "/" + rest
	}
}
