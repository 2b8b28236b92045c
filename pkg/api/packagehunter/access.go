package packagehunter

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/users"
)

// local is who asks where no users are configured.
const local = "anybody"

// authorized lets users through (basic authentication), as often as they may
// ask. Without users it lets this machine through, as api.Guard does.
func (s *server) authorized(next func(w http.ResponseWriter, r *http.Request, user string)) http.Handler {
	if len(s.Users) == 0 {
		return api.Guard(api.Access{}, s.Log, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.limited(w, r, local, next) }))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.origin.Check(r); err != nil {
			s.fail(w, http.StatusForbidden, "", "the request comes from another site")
			return
		}
		user, password, _ := r.BasicAuth()
		switch err := s.checker.Check(user, password); {
		case errors.Is(err, users.ErrBusy):
			s.tooMany(w, 10*time.Second)
		case err != nil:
			s.Log.Warn("request refused", "remote", r.RemoteAddr, "path", r.URL.Path, "reason", err)
			w.Header().Set("WWW-Authenticate", `Basic realm="falconer", charset="UTF-8"`)
			s.fail(w, http.StatusUnauthorized, "", "a valid user and password are needed (HTTP basic authentication)")
		default:
			s.limited(w, r, user, next)
		}
	})
}

// limited applies a user's rate.
func (s *server) limited(w http.ResponseWriter, r *http.Request, user string, next func(http.ResponseWriter, *http.Request, string)) {
	limit := s.requests
	if r.Method == http.MethodPost {
		limit = s.uploads
	}
	if wait := limit.take(user); wait > 0 {
		s.tooMany(w, wait)
		return
	}
	next(w, r, user)
}

func (s *server) tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	s.fail(w, http.StatusTooManyRequests, "", "too many requests, try again later")
}
