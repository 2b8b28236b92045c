package users

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// ErrWrong means that the user or the password is not known.
var ErrWrong = errors.New("wrong user or password")

// ErrBusy means that nobody can say now: too many checks are under way, or too
// many wrong passwords were tried for this user within a minute.
var ErrBusy = errors.New("too many attempts, try again")

// Bounds on what strangers can make a process do.
const (
	parallel    = 2   // checks at once: each keeps a core busy for a while
	guesses     = 10  // wrong passwords a user and minute
	maxAccepted = 256 // passwords remembered as right
	maxTried    = 10_000
)

// Checker checks passwords. What was right once is known again at the cost of
// one HMAC: programs that poll send the same with each request. It is safe for
// concurrent use.
type Checker struct {
	set   Set
	now   func() time.Time
	key   []byte // of the HMAC, this process's alone
	slots chan struct{}

	mu       sync.Mutex
	accepted map[[sha256.Size]byte]bool
	tried    map[string]*tries
}

// tries counts a user's wrong passwords since a time.
type tries struct {
	since time.Time
	n     int
}

// decoy is what a stranger's password is compared with.
var decoy = digest{iterations: Iterations, salt: make([]byte, saltBytes), sum: make([]byte, sha256.Size)}

// NewChecker returns a checker of these users.
func NewChecker(set Set, now func() time.Time) *Checker {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Checker{set: set, now: now, key: key, slots: make(chan struct{}, parallel), accepted: map[[sha256.Size]byte]bool{}, tried: map[string]*tries{}}
}

// Check returns nil for a user's own password, ErrWrong or ErrBusy.
func (c *Checker) Check(user, password string) error {
	if !ValidName(user) || password == "" || len(password) > MaxPassword {
		return ErrWrong
	}
	mac := hmac.New(sha256.New, c.key)
	_, _ = mac.Write([]byte(user + "\x00" + password)) // a hash never fails to write
	known := [sha256.Size]byte(mac.Sum(nil))
	if ok, busy := c.recall(known, user); ok {
		return nil
	} else if busy {
		return ErrBusy
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	default:
		return ErrBusy
	}
	stored := c.set[user]
	if len(stored) == 0 {
		stored = []digest{decoy}
	}
	right := false
	for _, d := range stored {
		right = d.matches(password) || right
	}
	c.note(known, user, right)
	if !right {
		return ErrWrong
	}
	return nil
}

// recall looks a pair up, and whether the user has guesses left.
func (c *Checker) recall(known [sha256.Size]byte, user string) (ok, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accepted[known] {
		return true, false
	}
	t := c.tried[user]
	return false, t != nil && t.n >= guesses && c.now().Sub(t.since) < time.Minute
}

// note remembers the outcome of a check.
func (c *Checker) note(known [sha256.Size]byte, user string, right bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if right {
		if len(c.accepted) >= maxAccepted {
			clear(c.accepted) // they are checked again
		}
		c.accepted[known] = true
		return
	}
	t := c.tried[user]
	if t == nil || c.now().Sub(t.since) >= time.Minute {
		if len(c.tried) >= maxTried {
			clear(c.tried)
		}
		t = &tries{since: c.now()}
		c.tried[user] = t
	}
	t.n++
}
