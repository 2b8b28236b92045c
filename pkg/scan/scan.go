// Package scan holds what is asked of Falconer: the scan request, its identity
// and its limits. It does no I/O.
//
// A scan's ID is a function of what is scanned and with what rules. Asking
// twice for the same thing therefore yields the same ID, and every later step
// (the sandbox, the alerts, the verdict) can be repeated without doubling.
package scan

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"
)

// namespace is the UUIDv5 name space of scan IDs (RFC 9562, section 5.5),
// itself the UUIDv5 of the product's name under the URL name space.
var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/falconer-sec/falconer/scan"))

// ID identifies a scan: a UUIDv5 in its canonical text form.
type ID string

// Key is what a scan ID is computed from.
type Key struct {
	Project  string // project path on the forge, or "local/<name>"
	Commit   string // commit SHA, or the digest of a source that has no commit
	Root     string // project root within the source, "." for the top
	Manager  string // package manager: "npm"
	Lockfile string // digest of the lockfile, "sha256:..."
	Recipe   string // version of the install recipe
	Rules    string // version of the rule set
}

// ID computes the key's scan ID. Fields are length-prefixed, so that no two
// keys share an encoding.
func (k Key) ID() ID {
	var b strings.Builder
	for _, f := range []string{k.Project, k.Commit, k.Root, k.Manager, k.Lockfile, k.Recipe, k.Rules} {
		fmt.Fprintf(&b, "%d:%s", len(f), f)
	}
	return ID(uuid.NewSHA1(namespace, []byte(b.String())).String())
}

// ParseID checks that s is a UUID and returns it in canonical form.
func ParseID(s string) (ID, error) {
	if len(s) != 36 {
		return "", fmt.Errorf("scan ID %.40q is not a UUID of 36 characters", s)
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return "", fmt.Errorf("scan ID %.40q: %w", s, err)
	}
	return ID(u.String()), nil
}

// Source says where the project's files are: one gzip-compressed tar archive
// in the object store.
type Source struct {
	Object   string   `json:"object"`             // object name in the source store
	Digest   string   `json:"digest"`             // "sha256:<hex>" of the archive
	Size     int64    `json:"size"`               // bytes
	Excluded []string `json:"excluded,omitempty"` // paths left out on purpose (secrets), with a reason each
}

// Request asks for one scan: one project root, one package manager.
type Request struct {
	ID       ID     `json:"scan_id"`
	Project  string `json:"project"`
	Ref      string `json:"ref,omitempty"`
	Commit   string `json:"commit,omitempty"`
	WebURL   string `json:"web_url,omitempty"`
	Root     string `json:"root"`
	Manager  string `json:"manager"`
	Lockfile string `json:"lockfile"`        // path of the lockfile, relative to Root
	Digest   string `json:"lockfile_digest"` // "sha256:<hex>"
	Recipe   string `json:"recipe"`
	Rules    string `json:"rules"`
	Source   Source `json:"source"`
	// TimeoutSeconds bounds the sandbox's wall time. 0 means DefaultTimeout.
	TimeoutSeconds int `json:"timeout_seconds,omitempty"`
	// Offline forbids the registry proxy any request upstream.
	Offline bool `json:"offline,omitempty"`
	// InstallOnly leaves out the loading of packages after the install. Recipe
	// says so too, since it makes another scan.
	InstallOnly bool `json:"install_only,omitempty"`
	// Priority orders scans that wait: the higher first.
	Priority Priority `json:"priority,omitempty"`
	// Pushed is when the forge told of the commit. A later one of the same
	// project, ref, root and manager takes its place. Zero if nobody knows.
	Pushed time.Time `json:"pushed,omitzero"`
	// Policy is what the findings are weighed by beside the rules. It is no part of
	// the ID: the same scan can be weighed anew. The zero value weighs every finding.
	Policy Policy `json:"policy,omitzero"`
}

// Priority says how urgently somebody waits for a scan.
type Priority int

// The priorities. Any other value makes a request unusable.
const (
	PriorityNormal        Priority = 0
	PriorityDefaultBranch Priority = 1 // a push to the project's default branch
	PriorityMergeRequest  Priority = 2 // somebody waits to merge
)

// DefaultTimeout is the sandbox's wall-time limit where a request states none.
const DefaultTimeout = 10 * time.Minute

// MaxTimeout is the longest wall time a request may ask for. It stays below the
// delivery timeout of the Trigger that hands requests to the runner.
const MaxTimeout = 40 * time.Minute

// Timeout returns the wall-time limit as a duration.
func (r Request) Timeout() time.Duration {
	if r.TimeoutSeconds <= 0 {
		return DefaultTimeout
	}
	return time.Duration(r.TimeoutSeconds) * time.Second
}

// Key returns what the request's ID is computed from.
func (r Request) Key() Key {
	commit := r.Commit
	if commit == "" {
		commit = r.Source.Digest
	}
	return Key{Project: r.Project, Commit: commit, Root: r.Root, Manager: r.Manager,
		Lockfile: r.Digest, Recipe: r.Recipe, Rules: r.Rules}
}

// Validate reports the first thing that makes the request unusable.
func (r Request) Validate() error {
	if _, err := ParseID(string(r.ID)); err != nil {
		return err
	}
	switch {
	case r.Project == "":
		return errors.New("scan request names no project")
	case r.Manager == "":
		return errors.New("scan request names no package manager")
	case r.Source.Object == "" || r.Source.Digest == "":
		return errors.New("scan request names no source archive")
	case !localPath(r.Root):
		return fmt.Errorf("scan request's root %q is not a path inside the source", r.Root)
	case r.Lockfile != "" && !localPath(r.Lockfile):
		return fmt.Errorf("scan request's lockfile %q is not a path inside its root", r.Lockfile)
	case r.Priority < PriorityNormal || r.Priority > PriorityMergeRequest:
		return fmt.Errorf("scan request's priority %d is outside %d to %d", r.Priority, PriorityNormal, PriorityMergeRequest)
	case r.TimeoutSeconds < 0 || r.Timeout() > MaxTimeout:
		return fmt.Errorf("scan request's timeout of %d s is outside 0 to %d s", r.TimeoutSeconds, int(MaxTimeout.Seconds()))
	}
	return r.Policy.validate()
}

// localPath reports whether p is a clean slash-separated relative path that
// stays inside its root.
func localPath(p string) bool {
	return p != "" && !path.IsAbs(p) && path.Clean(p) == p && p != ".." && !strings.HasPrefix(p, "../") && !strings.ContainsRune(p, 0)
}
