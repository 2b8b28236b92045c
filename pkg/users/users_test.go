package users_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/users"
)

const iterations = 1000 // quick; the digest says how many

var salt = bytes.Repeat([]byte("salt"), 100)

func line(t *testing.T, user, password string) string {
	t.Helper()
	l, err := users.Hash(user, password, iterations, bytes.NewReader(salt))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestHashIsWhatTheStandardSays(t *testing.T) {
	// openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:correct-horse -kdfopt salt:saltsaltsaltsalt -kdfopt iter:1000 PBKDF2
	const want = "ci:pbkdf2-sha256$1000$c2FsdHNhbHRzYWx0c2FsdA$ajBosA3zEoUgAz4N+qYAsbtg10PV6x74FgunepKeDwA"
	got := line(t, "ci", "correct-horse")
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestHashRefuses(t *testing.T) {
	for _, c := range [][2]string{{"", "long-enough"}, {"a:b", "long-enough"}, {".hidden", "long-enough"}, {"a/b", "long-enough"}, {strings.Repeat("a", 65), "long-enough"}, {"ci", "short"}, {"ci", strings.Repeat("a", 1025)}} {
		if l, err := users.Hash(c[0], c[1], iterations, bytes.NewReader(salt)); err == nil {
			t.Errorf("Hash(%q, %q) = %s", c[0], c[1], l)
		}
	}
}

func TestCheck(t *testing.T) {
	set, err := users.Parse("# users\n\n" + line(t, "ci", "password-1") + "\n" + line(t, "ci", "password-2") + "\n" + line(t, "dev", "password-3"))
	if err != nil {
		t.Fatal(err)
	}
	c := users.NewChecker(set, time.Now)
	for range 2 { // the second time from memory
		for _, tc := range []struct {
			user, password string
			want           error
		}{
			{"ci", "password-1", nil}, {"ci", "password-2", nil}, {"dev", "password-3", nil},
			{"ci", "password-3", users.ErrWrong}, {"dev", "", users.ErrWrong}, {"", "password-1", users.ErrWrong},
			{"ci", strings.Repeat("x", 5000), users.ErrWrong}, {"stranger", "password-1", users.ErrWrong},
		} {
			if err := c.Check(tc.user, tc.password); !errors.Is(err, tc.want) {
				t.Errorf("Check(%.20q, %.20q) = %v, want %v", tc.user, tc.password, err, tc.want)
			}
		}
	}
}

// Guesses at one user's password end after ten in a minute, for that user only;
// whoever has proved himself already goes on working.
func TestGuessesAreBounded(t *testing.T) {
	set, err := users.Parse(line(t, "ci", "password-1") + "\n" + line(t, "dev", "password-2"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	c := users.NewChecker(set, func() time.Time { return now })
	if err := c.Check("ci", "password-1"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := c.Check("ci", "guess-guess"); !errors.Is(err, users.ErrWrong) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := c.Check("ci", "guess-guess"); !errors.Is(err, users.ErrBusy) {
		t.Errorf("the eleventh guess: %v", err)
	}
	if err := c.Check("ci", "password-1"); err != nil {
		t.Errorf("the user: %v", err)
	}
	if err := c.Check("dev", "password-2"); err != nil {
		t.Errorf("another: %v", err)
	}
	now = now.Add(time.Minute)
	if err := c.Check("ci", "guess-guess"); !errors.Is(err, users.ErrWrong) {
		t.Errorf("a minute later: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := line(t, "ci", "password-1")
	for name, text := range map[string]string{
		"a password": "ci:password-1", "no colon": "ci", "no name": strings.TrimPrefix(good, "ci"), "few iterations": strings.Replace(good, "$1000$", "$1$", 1),
		"endless iterations": strings.Replace(good, "$1000$", "$99999999999$", 1), "cut": good[:len(good)-4], "five passwords": strings.Repeat(good+"\n", 5),
	} {
		set, err := users.Parse(text)
		if err == nil {
			t.Errorf("%s: %d users", name, len(set))
		} else if strings.Contains(err.Error(), "password-1") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

func TestFromEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(line(t, "ci", "password-1")), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(empty, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		env  map[string]string
		n    int
		fail bool
	}{
		"nothing":   {},
		"a file":    {env: map[string]string{"U_FILE": file}, n: 1},
		"the text":  {env: map[string]string{"U": line(t, "ci", "password-1")}, n: 1},
		"both":      {env: map[string]string{"U": "x", "U_FILE": file}, fail: true},
		"no file":   {env: map[string]string{"U_FILE": file + "x"}, fail: true},
		"no user":   {env: map[string]string{"U_FILE": empty}, fail: true},
		"malformed": {env: map[string]string{"U": "ci:x"}, fail: true},
	} {
		set, err := users.FromEnv(func(k string) string { return tc.env[k] }, "U")
		if len(set) != tc.n || (err != nil) != tc.fail {
			t.Errorf("%s: %d users, %v", name, len(set), err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ci:pbkdf2-sha256$1000$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("# x\n\nci:")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := users.Parse(text)
		for name := range set {
			if err != nil || !users.ValidName(name) {
				t.Errorf("%q, %v", name, err)
			}
		}
	})
}
