// Package users knows the users of an HTTP interface and checks their passwords.
//
// Guarantees: passwords are kept as salted PBKDF2-SHA256 digests only, in the
// file and in memory; a check takes the same work whether the user exists or
// not; what one process spends on checks is bounded, and so are the guesses at
// one user's password (see Checker); no error holds a password or a digest.
package users

import (
	"bufio"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Iterations is how much work a digest of Hash takes: OWASP's advice for
// PBKDF2-SHA256.
const Iterations = 600_000

// Bounds on what a list may ask of a check.
const (
	minIterations = 1_000
	maxIterations = 10_000_000
	maxUsers      = 10_000
	saltBytes     = 16
)

// MinPassword is the least length of a password, in bytes.
const MinPassword = 8

// MaxPassword is the longest password that is looked at, in bytes.
const MaxPassword = 1024

// scheme begins every digest, so that a better one can follow.
const scheme = "pbkdf2-sha256"

var name = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

// ValidName reports whether a user can have this name: letters, digits, dot,
// dash and underscore, at most 64, not beginning with a dot.
func ValidName(s string) bool { return name.MatchString(s) }

// digest is a stored password.
type digest struct {
	iterations int
	salt, sum  []byte
}

// Hash makes the line of a user: "NAME:pbkdf2-sha256$ITERATIONS$SALT$DIGEST".
// random is where the salt comes from.
func Hash(user, password string, iterations int, random io.Reader) (string, error) {
	switch {
	case !ValidName(user):
		return "", fmt.Errorf("%.80q is not a user's name: letters, digits, dots, dashes, underscores, at most 64", user)
	case len(password) < MinPassword || len(password) > MaxPassword:
		return "", fmt.Errorf("a password has %d to %d bytes", MinPassword, MaxPassword)
	}
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", err
	}
	sum, err := derive(password, salt, iterations)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s:%s$%d$%s$%s", user, scheme, iterations, base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum)), nil
}

func derive(password string, salt []byte, iterations int) ([]byte, error) {
	return pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
}

// matches compares in constant time.
func (d digest) matches(password string) bool {
	sum, err := derive(password, d.salt, d.iterations)
	return err == nil && subtle.ConstantTimeCompare(sum, d.sum) == 1
}

// Set is the users of one interface, by name; a name may have several digests,
// so that a password can be replaced without a gap.
type Set map[string][]digest

// Parse reads lines of Hash. Empty lines and those that begin with # are passed
// over.
func Parse(text string) (Set, error) {
	set, lines := Set{}, bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, stored, _ := strings.Cut(line, ":")
		d, err := parse(stored)
		if !ValidName(user) {
			err = errors.New("it does not begin with a user's name and a colon")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if set[user] = append(set[user], d); len(set) > maxUsers || len(set[user]) > 4 {
			return nil, fmt.Errorf("line %d: more than %d users, or than 4 passwords of one", n, maxUsers)
		}
	}
	return set, lines.Err()
}

func parse(stored string) (d digest, err error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 4 || parts[0] != scheme {
		return d, errors.New("it holds no " + scheme + " digest; make one with `falconer user NAME`")
	}
	if d.iterations, err = strconv.Atoi(parts[1]); err != nil || d.iterations < minIterations || d.iterations > maxIterations {
		return d, fmt.Errorf("the digest's iterations are outside %d to %d", minIterations, maxIterations)
	}
	var err2 error
	d.salt, err = base64.RawStdEncoding.DecodeString(parts[2])
	d.sum, err2 = base64.RawStdEncoding.DecodeString(parts[3])
	if err != nil || err2 != nil || len(d.salt) < 8 || len(d.salt) > 64 || len(d.sum) != sha256.Size {
		return d, errors.New("the digest is damaged")
	}
	return d, nil
}

// FromEnv reads the users from the environment variable name, or from the file
// that name_FILE names; none if neither is set. A file without a user is an
// error: it would shut everybody out.
func FromEnv(getenv func(string) string, name string) (Set, error) {
	text := getenv(name)
	if file := getenv(name + "_FILE"); file != "" {
		if text != "" {
			return nil, fmt.Errorf("%s and %s_FILE are both set: use one", name, name)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w", name, err)
		}
		text = string(raw)
	} else if text == "" {
		return nil, nil
	}
	set, err := Parse(text)
	if err == nil && len(set) == 0 {
		err = errors.New("there is no user in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return set, nil
}
