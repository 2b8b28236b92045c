package gvisor

import (
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
)

// imageAge is how much older than the machine's start its container's image is.
const imageAge = 23 * 24 * time.Hour

// age dates the root's files back: an image is built long before a job runs on
// it, and nobody's home is made in one second. It comes last, for writing a file
// dates its directory.
func (b bundle) age(m guest.Machine, now time.Time) error {
	for dir, base := range map[string]time.Time{"etc": now.Add(-m.Uptime - imageAge), "var": now.Add(-m.Uptime - imageAge), homeDir: now.Add(-m.Uptime)} {
		var names []string
		err := filepath.WalkDir(filepath.Join(b.root, dir), func(name string, _ fs.DirEntry, err error) error {
			names = append(names, name)
			return err
		})
		if err != nil {
			return err
		}
		for _, name := range names {
			at := unix.NsecToTimeval(base.Add(spread(name[len(b.root):])).UnixNano())
			if err := unix.Lutimes(name, []unix.Timeval{at, at}); err != nil {
				return &fs.PathError{Op: "lutimes", Path: name, Err: err}
			}
		}
	}
	return nil
}

// spread is a time within a day that depends on a name only.
func spread(name string) time.Duration {
	return time.Duration(crc32.ChecksumIEEE([]byte(name))%86_400_000) * time.Millisecond
}
