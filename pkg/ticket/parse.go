package ticket

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// parsed is a path taken apart; nothing about it has been proved.
type parsed struct {
	id      scan.ID
	attempt int
	expires int64 // Unix time in seconds
	token   []byte
	rest    string
}

// maxTicket bounds the part of a path that is looked at, in bytes; a ticket has
// about 120.
const maxTicket = 256

// parse reads a path of the one form that Path writes. Its errors don't repeat
// what was read: that may be a credential, or hostile.
func parse(purpose, path string) (t parsed, err error) {
	body, ok := strings.CutPrefix(path, "/"+purpose+"/")
	if !ok || !letters(purpose) {
		return t, errors.New("the path is for another purpose")
	}
	fields := strings.SplitN(body[:min(len(body), maxTicket)], "/", 5)
	if len(fields) < 4 {
		return t, errors.New("the path has too few elements")
	}
	t.rest = body[len(strings.Join(fields[:4], "/")):]
	if t.id, err = scan.ParseID(fields[0]); err != nil || string(t.id) != fields[0] {
		return t, errors.New("the path names no scan")
	}
	attempt, ok1 := number(fields[1])
	expires, ok2 := number(fields[2])
	if !ok1 || !ok2 || attempt > MaxAttempt {
		return t, errors.New("the path names no attempt or no time")
	}
	t.attempt, t.expires = int(attempt), expires
	t.token, err = encoding.DecodeString(fields[3])
	if err != nil || len(t.token) != sha256.Size || strings.ContainsAny(fields[3], "\r\n") { // the decoder skips line ends
		return t, errors.New("the path holds no token")
	}
	return t, nil
}

// number reads a positive decimal number in its shortest form.
func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == s
}
