package registry

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Prefetched is what Prefetch put into a scan's npm cache.
type Prefetched struct {
	Fetches  []finding.Fetch // one per archive, sorted by name and version
	Unlisted int             // fetches beyond MaxFetches
	Problems []string        // what the install will miss, and why
	Bytes    int64           // of archives, cached ones included
}

// Prefetch makes dir an npm cache that holds exactly what p's lockfile pins,
// such that `npm ci --prefer-offline` with base as its registry makes no
// request. It may be mounted read-only under a writable overlay. Archives
// come from the shared cache (by hard link where possible) or are downloaded,
// verified, into it first. Packages that npm would not install on this
// platform are left out.
//
// An archive that the registry lacks, or whose content is not the pinned one,
// is a Problem, as the install can't succeed honestly. An unreachable registry
// is a fault.Transient error; a cache that does not suffice in offline mode is
// fault.Permanent and lists what is missing. Trouble with optional packages is
// never an error.
func (m *Mirror) Prefetch(ctx context.Context, p ecosystem.Project, dir, base string) (Prefetched, error) {
	view, err := newStore(dir)
	if err != nil {
		return Prefetched{}, err
	}
	pins := pinsOf(p)
	f := filling{m: m, view: view, base: base, got: make([]content, len(pins)), errs: make([]error, len(pins))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i := range pins {
		g.Go(func() error {
			f.got[i], f.errs[i] = f.one(ctx, pins[i])
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return Prefetched{}, fmt.Errorf("registry: prefetch: %w", err)
	}
	if err := f.documents(pins); err != nil {
		return Prefetched{}, fmt.Errorf("registry: prefetch: %w", err)
	}
	return f.outcome(pins)
}

// pinsOf lists what has to be fetched for p, each once, sorted.
func pinsOf(p ecosystem.Project) []pin {
	libc := HostLibc()
	seen := map[string]int{}
	var out []pin
	for _, pkg := range p.Packages {
		if pkg.Link || pkg.Bundled || pkg.Version == "" && !pkg.Foreign || !installable(pkg, libc) {
			continue
		}
		key := strings.Join([]string{pkg.Name, pkg.Version, pkg.Integrity, pkg.Resolved}, "\x00")
		if i, ok := seen[key]; ok {
			out[i].optional = out[i].optional && pkg.Optional
			continue
		}
		seen[key] = len(out)
		out = append(out, pinOf(pkg))
	}
	slices.SortFunc(out, func(a, b pin) int {
		return strings.Compare(a.name+"\x00"+a.version+"\x00"+a.resolved, b.name+"\x00"+b.version+"\x00"+b.resolved)
	})
	return out
}

// filling is one Prefetch under way.
type filling struct {
	m    *Mirror
	view *store
	base string
	got  []content
	errs []error
}

func (f *filling) one(ctx context.Context, p pin) (content, error) {
	c, err := f.m.archive(ctx, p)
	if err != nil {
		return c, err
	}
	if err := c.in.link(f.view, c.digest); err != nil {
		return c, fault.New("", fault.Transient, err)
	}
	if p.foreign || p.resolved != "" && len(p.want) > 0 {
		return c, nil // npm finds it by its digest
	}
	for _, address := range f.requested(p) {
		e := newIndexEntry(address, "", "application/octet-stream", c.digest, c.size, f.m.now())
		if err := f.view.index(e); err != nil {
			return c, fault.New("", fault.Transient, err)
		}
	}
	return c, nil
}

// requested lists the addresses at which npm will ask the proxy for p: the
// usual one, or the lockfile's with the proxy's host.
func (f *filling) requested(p pin) []string {
	if p.resolved == "" {
		return []string{archiveURL(f.base, p.name, p.version)}
	}
	u, err := url.Parse(p.resolved)
	if err != nil {
		return nil
	}
	return []string{strings.TrimSuffix(f.base, "/") + (&url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}).String()}
}

// documents writes the package documents from which npm learns the archives'
// addresses when the lockfile records none.
func (f *filling) documents(pins []pin) error {
	byName := map[string]map[string]string{}
	for i, p := range pins {
		if p.resolved == "" && f.errs[i] == nil && !p.foreign {
			if byName[p.name] == nil {
				byName[p.name] = map[string]string{}
			}
			byName[p.name][p.version] = f.got[i].digest.String()
		}
	}
	var g errgroup.Group
	g.SetLimit(concurrency)
	for name, versions := range byName {
		g.Go(func() error { return f.document(name, versions) })
	}
	return g.Wait()
}

func (f *filling) document(name string, versions map[string]string) error {
	doc, err := pinnedPackument(name, f.base, versions)
	if err != nil {
		return err
	}
	sum := sha512.Sum512(doc)
	d := digest{"sha512", string(sum[:])}
	if err := writeFile(f.view.path(d), doc); err != nil {
		return err
	}
	at := strings.TrimSuffix(f.base, "/") + Request{Name: name}.Path()
	var entries []indexEntry
	for _, accept := range packumentAccepts {
		entries = append(entries, newIndexEntry(at, accept, "application/json", d, int64(len(doc)), f.m.now()))
	}
	return f.view.index(entries...)
}

// outcome turns what happened to each pin into the result.
func (f *filling) outcome(pins []pin) (Prefetched, error) {
	var log fetchLog
	var missing []string
	var transient error
	var total int64
	for i, p := range pins {
		c, err := f.got[i], f.errs[i]
		entry := finding.Fetch{Name: p.name, Version: p.version, Size: c.size, Cached: c.cached}
		if err != nil {
			entry.Refused = err.Error()
		} else {
			entry.Integrity, total = c.digest.String(), total+c.size
		}
		log.fetch(entry)
		switch {
		case err == nil, p.foreign: // a foreign source is the project's problem already
		case errors.Is(err, ErrIntegrity):
			log.problem(p.String() + ": " + err.Error())
		case p.optional:
		case errors.Is(err, ErrOffline):
			missing = append(missing, p.String())
		case fault.Retryable(err) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrHost):
			if transient == nil {
				transient = fmt.Errorf("registry: %s: %w", p, err)
			}
		default:
			log.problem(p.String() + ": " + err.Error())
		}
	}
	out := Prefetched{Bytes: total}
	out.Fetches, out.Unlisted, out.Problems = log.list()
	if len(missing) > 0 {
		return out, fault.Errorf(fault.Permanent, "registry: %d archives are missing: %s: %w", len(missing), enumerate(missing), ErrOffline)
	}
	return out, transient
}

// enumerate lists the first few names.
func enumerate(names []string) string {
	const shown = 10
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}
