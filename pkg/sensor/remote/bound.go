package remote

import (
	"net"
	"strconv"

	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"

	"github.com/falconer-sec/falconer/pkg/sensor"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"strings"
)

// maxAddress bounds a struct sockaddr: sockaddr_un is the longest that a rule
// reads.
const maxAddress = 110

// bound cuts what a record of a kernel that is not ours holds to what one of
// ours would: strings, lists, and of the environment what rules look at.
func bound(r *record.Record) {
	for _, s := range []*string{&r.Cwd, &r.Comm, &r.Path, &r.Raw, &r.FDPath, &r.Exe} {
		*s = (*s)[:min(len(*s), record.MaxString)]
	}
	r.Addr = r.Addr[:min(len(r.Addr), maxAddress)]
	r.Env = chosen(r.Env)
	for _, l := range []*[]string{&r.Argv, &r.Env, &r.Stdio} {
		*l = boundList(*l)
	}
}

func boundList(l []string) []string {
	if len(l) > record.MaxList {
		l = append([]string(nil), l[:record.MaxList]...)
	}
	room := record.MaxListBytes
	for i, s := range l {
		l[i] = strings.Clone(s[:min(len(s), record.MaxString, room)])
		room -= len(l[i])
	}
	return l
}

// chosen keeps the variables of sensor.EnvNames.
func chosen(env []string) []string {
	var out []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		for _, want := range sensor.EnvNames {
			if name == want && len(out) < record.MaxList {
				out = append(out, e)
			}
		}
	}
	return out
}

func stdio(fds ...*pb.FdInfo) []string {
	var out []string
	for _, fd := range fds {
		if fd == nil && out == nil {
			continue // not asked for
		}
		out = append(out, describeFD(fd))
	}
	return out
}

// describeFD says what a standard descriptor refers to: a path, or
// "socket:<address of the other side>".
func describeFD(i *pb.FdInfo) string {
	switch {
	case i == nil:
		return ""
	case i.Socket == nil:
		return i.Path
	case i.Socket.Remote == nil:
		return "socket:"
	}
	return "socket:" + net.JoinHostPort(net.IP(i.Socket.Remote.Ip).String(), strconv.Itoa(int(i.Socket.Remote.Port)))
}
