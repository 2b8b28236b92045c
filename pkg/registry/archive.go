package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// pin is an archive that a lockfile names.
type pin struct {
	name, version string
	resolved      string // the lockfile's address, "" for none
	want          []digest
	foreign       bool // not from a registry: only resolved can serve it
	optional      bool
}

func pinOf(p ecosystem.Package) pin {
	return pin{p.Name, p.Version, p.Resolved, parseIntegrity(p.Integrity), p.Foreign, p.Optional}
}

func (p pin) String() string { return p.name + "@" + p.version }

// content is an archive in one of the caches.
type content struct {
	in     *store
	digest digest
	size   int64
	cached bool // no registry was asked
}

// archive returns p's archive from a cache or downloads it into the shared
// one. Errors: ErrOffline, ErrNotFound, ErrIntegrity, ErrTooLarge, ErrHost,
// or a fault of the registry.
func (m *Mirror) archive(ctx context.Context, p pin) (content, error) {
	if c, ok := m.cached(p); ok {
		return c, nil
	}
	if m.offline {
		return content{}, ErrOffline
	}
	if len(p.want) == 0 && !p.foreign {
		d, err := m.dist(ctx, p.name, p.version)
		if err != nil {
			return content{}, err
		}
		if p.want = d.digests(); len(p.want) == 0 {
			return content{}, fault.Errorf(fault.Permanent, "neither the lockfile nor the registry says what %s must contain", p)
		}
		if c, ok := m.cached(p); ok {
			return c, nil
		}
	}
	return m.download(ctx, p)
}

// cached looks for p in the shared cache and the extra ones. An archive
// without integrity is found by the address an npm cache has it under.
func (m *Mirror) cached(p pin) (content, bool) {
	for _, s := range append([]*store{m.store}, m.extra...) {
		want := p.want
		if len(want) == 0 && m.offline {
			if e, ok := s.lookup(requestKey + m.up.archive(p)); ok {
				want = parseIntegrity(e.Integrity)
			}
		}
		if d, size, ok := s.find(want); ok {
			return content{s, d, size, true}, true
		}
	}
	return content{}, false
}

// download tries the addresses p may be at: the lockfile's if its host is
// allowed, the registry's usual one, the one the package document names.
func (m *Mirror) download(ctx context.Context, p pin) (content, error) {
	var first error
	next := func(address string) (content, bool, error) {
		var c content
		err := m.up.get(ctx, address, "*/*", MaxTarball, func(r io.Reader) error {
			d, size, err := m.store.put(ctx, r, p.want, MaxTarball)
			c = content{in: m.store, digest: d, size: size}
			return err
		})
		if err == nil || errors.Is(err, ErrIntegrity) || errors.Is(err, ErrTooLarge) || fault.Retryable(err) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrHost) {
			return c, true, err
		}
		if first == nil {
			first = err
		}
		return c, false, err
	}
	if p.resolved != "" && m.up.reachable(p.resolved) || p.foreign {
		if c, done, err := next(p.resolved); done || p.foreign {
			return c, err
		}
	}
	if c, done, err := next(m.up.archive(p)); done {
		return c, err
	}
	d, err := m.dist(ctx, p.name, p.version)
	if err != nil {
		return content{}, err
	}
	if c, done, err := next(d.Tarball); done {
		return c, err
	}
	return content{}, first
}

// packument downloads a package document.
func (m *Mirror) packument(ctx context.Context, name, accept string) (doc []byte, err error) {
	if m.offline {
		return nil, ErrOffline
	}
	err = m.up.get(ctx, m.up.cfg.base(name)+escapeName(name), accept, MaxPackument, func(r io.Reader) error {
		doc, err = io.ReadAll(io.LimitReader(r, MaxPackument+1))
		if err == nil && len(doc) > MaxPackument {
			err = fmt.Errorf("package document of %s: %w", name, ErrTooLarge)
		}
		return err
	})
	return doc, err
}

func (m *Mirror) dist(ctx context.Context, name, version string) (dist, error) {
	doc, err := m.packument(ctx, name, packumentAccepts[0])
	if err != nil {
		return dist{}, err
	}
	return distOf(doc, version)
}

// archive is the address at which registries usually have an archive.
func (u *upstream) archive(p pin) string {
	return u.cfg.base(p.name) + strings.TrimPrefix(Request{p.name, p.version}.Path(), "/")
}

func (u *upstream) reachable(address string) bool {
	to, err := url.Parse(address)
	return err == nil && u.allowed(to)
}

// openArchive is archive, opened and verified; a damaged cache entry is fetched
// anew.
func (m *Mirror) openArchive(ctx context.Context, p pin) (content, *os.File, error) {
	c, err := m.archive(ctx, p)
	if err != nil {
		return c, nil, err
	}
	f, err := c.in.open(c.digest)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, f, err
	}
	if m.offline {
		return content{}, nil, fmt.Errorf("the cached archive is damaged: %w", ErrOffline)
	}
	p.want = []digest{c.digest}
	if c, err = m.download(ctx, p); err != nil {
		return c, nil, err
	}
	f, err = c.in.open(c.digest)
	return c, f, err
}
