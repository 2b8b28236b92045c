package cyclonedx

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/falconer-sec/falconer/pkg/report/dossier"
)

// sourceRef is the bom-ref of the source that was scanned.
const sourceRef = "source"

// source is what the BOM is about.
func source(d dossier.Dossier) *cdx.Component {
	c := &cdx.Component{Type: cdx.ComponentTypeApplication, BOMRef: sourceRef, Name: "unknown"}
	if len(d.Scans) > 0 {
		s := d.Scans[0] // one source's scans share project, ref and commit
		c.Version = s.Commit
		c.Properties = list(property("falconer:ref", s.Ref))
		if s.Project != "" {
			c.Name = s.Project
		}
	}
	return c
}

// components lists a component for each scan's lockfile and, behind them, for
// each package; a package of several scans stands once.
func components(d dossier.Dossier) []cdx.Component {
	out := []cdx.Component{}
	for _, s := range d.Scans {
		out = append(out, cdx.Component{
			Type: cdx.ComponentTypeFile, BOMRef: scanRef(s), Name: s.File,
			Properties: list(property("falconer:scan", s.ID), property("falconer:verdict", string(s.Verdict)), property("falconer:manager", s.Manager),
				property("falconer:rules", s.Rules), property("falconer:recipe", s.Recipe)),
		})
	}
	seen := map[string]bool{}
	for _, s := range d.Scans {
		for _, p := range s.Packages {
			if ref := packageRef(p); !seen[ref] {
				seen[ref] = true
				out = append(out, component(p, ref))
			}
		}
	}
	return out
}

func scanRef(s dossier.Scan) string { return "scan:" + s.ID }

// packageRef names a package by what every list of a scan says of it.
func packageRef(p dossier.Package) string { return "package:" + p.Name + "@" + p.Version }

func component(p dossier.Package, ref string) cdx.Component {
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: ref, Name: p.Name, Version: p.Version, PackageURL: p.PURL}
	if props := list(property("falconer:path", p.Path), property("falconer:install_scripts", strings.Join(p.Scripts, ", "))); len(*props) > 0 {
		c.Properties = props
	}
	if h, ok := hash(p.Integrity); ok {
		c.Hashes = &[]cdx.Hash{h}
	}
	return c
}

// hash reads a subresource integrity string of one strong hash.
func hash(integrity string) (cdx.Hash, bool) {
	kind, text, _ := strings.Cut(integrity, "-")
	sizes := map[string]struct {
		algorithm cdx.HashAlgorithm
		size      int
	}{"sha256": {cdx.HashAlgoSHA256, 32}, "sha384": {cdx.HashAlgoSHA384, 48}, "sha512": {cdx.HashAlgoSHA512, 64}}
	want, known := sizes[kind]
	if !known || len(text) > 128 {
		return cdx.Hash{}, false
	}
	sum, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sum) != want.size {
		return cdx.Hash{}, false
	}
	return cdx.Hash{Algorithm: want.algorithm, Value: hex.EncodeToString(sum)}, true
}
