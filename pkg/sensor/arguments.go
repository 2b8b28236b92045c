package sensor

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openFlags names open(2)'s flags as Falco prints them.
func openFlags(f uint32) string {
	names := []string{[]string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_RDWR"}[f&unix.O_ACCMODE]}
	for _, flag := range []struct {
		bit  uint32
		name string
	}{
		{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_TRUNC, "O_TRUNC"}, {unix.O_APPEND, "O_APPEND"},
		{unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
		{unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"},
	} {
		if f&flag.bit != 0 {
			names = append(names, flag.name)
		}
	}
	return strings.Join(names, "|")
}

// modeText is an octal mode with its bits by name, as Falco prints it:
// 04755(S_ISUID|S_IRUSR|...).
func modeText(mode uint32) string {
	mode &= 0o7777
	var names []string
	for _, bit := range []struct {
		bit  uint32
		name string
	}{
		{unix.S_ISUID, "S_ISUID"}, {unix.S_ISGID, "S_ISGID"}, {unix.S_ISVTX, "S_ISVTX"},
		{unix.S_IRUSR, "S_IRUSR"}, {unix.S_IWUSR, "S_IWUSR"}, {unix.S_IXUSR, "S_IXUSR"},
		{unix.S_IRGRP, "S_IRGRP"}, {unix.S_IWGRP, "S_IWGRP"}, {unix.S_IXGRP, "S_IXGRP"},
		{unix.S_IROTH, "S_IROTH"}, {unix.S_IWOTH, "S_IWOTH"}, {unix.S_IXOTH, "S_IXOTH"},
	} {
		if mode&bit.bit != 0 {
			names = append(names, bit.name)
		}
	}
	return "0" + strconv.FormatUint(uint64(mode), 8) + "(" + strings.Join(names, "|") + ")"
}

// ptraceRequest names the requests that rules look at.
func ptraceRequest(r uint32) string {
	switch r {
	case unix.PTRACE_TRACEME:
		return "PTRACE_TRACEME"
	case unix.PTRACE_ATTACH:
		return "PTRACE_ATTACH"
	case unix.PTRACE_SEIZE:
		return "PTRACE_SEIZE"
	case unix.PTRACE_POKETEXT:
		return "PTRACE_POKETEXT"
	case unix.PTRACE_POKEDATA:
		return "PTRACE_POKEDATA"
	}
	return strconv.FormatUint(uint64(r), 10)
}
