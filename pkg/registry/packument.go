package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// dist is where a version's archive is and what it must be.
type dist struct {
	Tarball   string `json:"tarball"`
	Integrity string `json:"integrity,omitempty"`
	Shasum    string `json:"shasum,omitempty"`
}

// digests returns what dist pins the archive to.
func (d dist) digests() []digest {
	if ds := parseIntegrity(d.Integrity); len(ds) > 0 {
		return ds
	}
	return hexSHA1(d.Shasum)
}

// rewritePackument makes every archive address in a packument of name point to
// base, so that archives come through the proxy too. Versions that are not
// semantic versions or have no archive are dropped; a document that is not a
// packument is fault.Invalid.
func rewritePackument(doc []byte, name, base string) ([]byte, error) {
	top, versions, err := parsePackument(doc)
	if err != nil {
		return nil, err
	}
	for version, raw := range versions {
		v, d, err := parseVersion(raw)
		if err != nil || !node.ValidVersion(version) {
			delete(versions, version)
			continue
		}
		d["tarball"], _ = json.Marshal(archiveURL(base, name, version)) // a string always marshals
		if v["dist"], err = json.Marshal(d); err != nil {
			return nil, err
		}
		if versions[version], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	if top["versions"], err = json.Marshal(versions); err != nil {
		return nil, err
	}
	return json.Marshal(top)
}

// archiveURL is where the proxy at base serves an archive.
func archiveURL(base, name, version string) string {
	return strings.TrimSuffix(base, "/") + Request{name, version}.Path()
}

// distOf returns the dist of one version of a packument. An absent version is
// ErrNotFound.
func distOf(doc []byte, version string) (dist, error) {
	_, versions, err := parsePackument(doc)
	if err != nil {
		return dist{}, err
	}
	raw, ok := versions[version]
	if !ok {
		return dist{}, fmt.Errorf("version %s: %w", version, ErrNotFound)
	}
	_, d, err := parseVersion(raw)
	if err != nil {
		return dist{}, err
	}
	field := func(key string) (s string) {
		_ = json.Unmarshal(d[key], &s) // an absent or odd field is ""
		return s
	}
	return dist{Tarball: field("tarball"), Integrity: field("integrity"), Shasum: field("shasum")}, nil
}

type rawObject = map[string]json.RawMessage

var errPackument = errors.New("not a package document")

func parsePackument(doc []byte) (top, versions rawObject, err error) {
	if err := json.Unmarshal(doc, &top); err != nil || top == nil {
		return nil, nil, fault.New("", fault.Invalid, errPackument)
	}
	if err := json.Unmarshal(top["versions"], &versions); err != nil || versions == nil {
		return nil, nil, fault.New("", fault.Invalid, errPackument)
	}
	return top, versions, nil
}

func parseVersion(raw json.RawMessage) (v, d rawObject, err error) {
	if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		return nil, nil, fault.New("", fault.Invalid, errPackument)
	}
	if err := json.Unmarshal(v["dist"], &d); err != nil || d == nil {
		return nil, nil, fault.New("", fault.Invalid, errPackument)
	}
	return v, d, nil
}

// pinnedPackument makes the smallest packument of name that lets npm find the
// archives of the given versions (version → integrity).
func pinnedPackument(name, base string, versions map[string]string) ([]byte, error) {
	type manifest struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Dist    dist   `json:"dist"`
	}
	list, times, latest := map[string]manifest{}, map[string]string{}, ""
	for v, integrity := range versions {
		list[v] = manifest{name, v, dist{Tarball: archiveURL(base, name, v), Integrity: integrity}}
		times[v] = "2015-01-01T00:00:00.000Z" // old enough for any minimum age
		latest = max(latest, v)
	}
	return json.Marshal(map[string]any{
		"name": name, "dist-tags": map[string]string{"latest": latest}, "versions": list, "time": times,
	})
}
