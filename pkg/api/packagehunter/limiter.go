package packagehunter

import (
	"sync"
	"time"
)

// maxBuckets bounds the users that a limiter counts at once.
const maxBuckets = 10_000

// limiter is a token bucket a user.
type limiter struct {
	rate Rate
	now  func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	left float64 // requests
	at   time.Time
}

func newLimiter(r Rate, now func() time.Time) *limiter {
	return &limiter{rate: r, now: now, buckets: map[string]*bucket{}}
}

// take returns 0 and counts a request, or how long to wait until one is free.
func (l *limiter) take(user string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, b := l.now(), l.buckets[user]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			clear(l.buckets) // only users who proved themselves are counted: there are hardly that many
		}
		b = &bucket{left: float64(l.rate.Burst), at: now}
		l.buckets[user] = b
	}
	perSecond := l.rate.PerMinute / 60
	b.left = min(float64(l.rate.Burst), b.left+max(0, now.Sub(b.at).Seconds())*perSecond)
	b.at = now
	if b.left < 1 {
		return time.Duration((1 - b.left) / perSecond * float64(time.Second))
	}
	b.left--
	return 0
}
