// Package canary makes up the credentials that a sandbox is baited with, and
// recognises them wherever they turn up.
//
// Guarantees: everything derives from a Seed, so that who places canaries and
// who looks for them need to share nothing else; two seeds have no value in
// common; formats are the real ones (prefixes, lengths, checksums, key
// encodings, databases), yet nothing opens anything. A value is found as it is
// and in the encodings of form.go, in one stretch or spread over any number of
// writes, lines, labels or separators, from a dozen consecutive characters of
// it on. What is found is named; the value itself never leaves this package
// but through Files and Env. A Set is safe for concurrent use.
//
// What is not recognised: values that are encrypted, or encoded in ways that
// form.go does not list, and more than 1 MiB into a compressed stream.
package canary

import (
	"io/fs"
	"path"
	"sync"
)

// Place is what a File's path is relative to.
type Place uint8

// The places.
const (
	Home    Place = iota // the home directory of who installs
	Project              // the project's root
)

// File is a file with fake credentials.
type File struct {
	Place Place
	Path  string // slash-separated, relative to the place
	Name  string // of the credential that it holds
	Data  []byte
	Mode  fs.FileMode
}

// Hit is a canary that was found.
type Hit struct {
	Name string // of the credential, for people: "npm token"
	Form string // how it was written: "plain", "base64", "hex"...
}

// Set is one scan's canaries.
type Set struct {
	seed    Seed
	files   []File
	env     []string
	known   map[string]bool   // NAME=value that a program has in its environment without stealing
	matcher func() *automaton // made when it is needed first
}

// value is one secret of a credential.
type value struct {
	name string
	text string
	core int // characters of it that give it away; 0 means coreSize
}

// New derives the canaries of a seed. The first search takes some milliseconds
// and megabytes more.
func New(seed Seed) *Set {
	m := &maker{seed: seed}
	for _, make := range makers {
		make(m)
	}
	s := &Set{seed: seed, files: m.files, env: m.env, known: map[string]bool{}}
	for _, v := range append(m.env, m.dotenv...) {
		s.known[v] = true
	}
	s.matcher = sync.OnceValue(func() *automaton { return compile(m.values) })
	return s
}

// Seed returns what the Set derives from.
func (s *Set) Seed() Seed { return s.seed }

// Files returns the files to place. Dirs that are made for them are for their
// owner only.
func (s *Set) Files() []File { return s.files }

// Env returns variables to set, as "NAME=value": those that a build job has
// and that no installer looks at.
func (s *Set) Env() []string { return s.env }

// Inherited reports whether an entry of an environment ("NAME=value") is one
// that was put there, or that loading the project's .env puts there.
func (s *Set) Inherited(entry string) bool { return s.known[entry] }

// At returns the name of the credential at an absolute path, given where the
// home and the project's root are. It needs no Set: places don't depend on the
// seed, their contents do.
func At(home, project, file string) (name string, ok bool) {
	for _, p := range places {
		base := home
		if p.place == Project {
			base = project
		}
		if base == "" {
			continue
		}
		if ok, err := path.Match(path.Join(base, p.pattern), file); ok && err == nil {
			return p.name, true
		}
	}
	return "", false
}

// maker collects what the makers make.
type maker struct {
	seed   Seed
	files  []File
	env    []string
	dotenv []string
	values []value
}

// makers make one kind of credential each.
var makers = []func(*maker){cloud, ssh, registries, forges, clusters, services, gnupg, browsers, wallets, variables}

// file adds a file of the credential name, which holds these secrets.
func (m *maker) file(name, at, data string, secrets ...string) {
	m.files = append(m.files, File{Path: at, Name: name, Data: []byte(data), Mode: 0o600})
	m.secret(name, secrets...)
}

func (m *maker) secret(name string, secrets ...string) {
	for _, s := range secrets {
		m.values = append(m.values, value{name: name, text: s})
	}
}
