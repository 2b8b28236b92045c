package images

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// reference matches what stands for an image in a manifest: ko:// and a main
// package's import path, or sandbox:// and the name of a scan pod's image.
var reference = regexp.MustCompile(`\b(?:ko|sandbox)://[A-Za-z0-9._~/-]*[A-Za-z0-9]`)

// Refs returns the references in YAML text, each once, in order. Comments don't
// count.
func Refs(manifests []byte) []string {
	var refs []string
	for line := range strings.Lines(string(manifests)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		refs = append(refs, reference.FindAllString(line, -1)...)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// Resolve replaces the references in YAML text by the images' names. A
// reference without a name is an error.
func Resolve(manifests []byte, names map[string]string) ([]byte, error) {
	var missing []string
	for _, ref := range Refs(manifests) {
		if names[ref] == "" {
			missing = append(missing, ref)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no image for %s", strings.Join(missing, ", "))
	}
	return reference.ReplaceAllFunc(manifests, func(ref []byte) []byte {
		if to, ok := names[string(ref)]; ok {
			return []byte(to)
		}
		return ref // in a comment
	}), nil
}
