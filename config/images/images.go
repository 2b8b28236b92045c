// Package images builds Falconer's container images: no daemon, no registry, no
// base image.
//
// Guarantees: an image of a main program is one layer with one static binary,
// /etc/passwd and an empty /tmp, and runs as nobody in particular (65532); the
// same sources and toolchain give the same digest, byte for byte; a tag is the
// beginning of the digest, so that a changed image has another name; a ko://
// reference that nothing was built for is an error, never passed on.
package images

import (
	"fmt"
	"path"
	"regexp"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// User is the numeric user and group of every image. Numeric, because a kubelet
// can only then tell that it isn't root.
const User = "65532:65532"

// tagLength is how many hexadecimal digits of the digest make a tag.
const tagLength = 12

// Image is a built image.
type Image struct {
	Ref  string // what manifests call it: ko://IMPORT/PATH or sandbox://NAME
	Name string // last element of its repository's name, such as "falconer-runner"
	v1.Image
}

// Tag is the image's tag: the first digits of its digest.
func (i Image) Tag() (string, error) {
	d, err := i.Digest()
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", i.Name, err)
	}
	return d.Hex[:tagLength], nil
}

// Tagged is the image's name by tag in repository repo.
func (i Image) Tagged(repo string) (name.Tag, error) {
	tag, err := i.Tag()
	if err != nil {
		return name.Tag{}, err
	}
	return name.NewTag(repo+"/"+i.Name+":"+tag, name.WeakValidation)
}

// Digested is the image's name by digest in repository repo.
func (i Image) Digested(repo string) (name.Digest, error) {
	d, err := i.Digest()
	if err != nil {
		return name.Digest{}, fmt.Errorf("digest of %s: %w", i.Name, err)
	}
	return name.NewDigest(repo+"/"+i.Name+"@"+d.String(), name.WeakValidation)
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// programOf is the name of a main package's program, as the Go tool has it.
func programOf(importPath string) string {
	base := path.Base(importPath)
	if majorVersion.MatchString(base) {
		base = path.Base(path.Dir(importPath))
	}
	return base
}

// assemble makes an image of one layer.
func assemble(layer v1.Layer, arch string, c v1.Config) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	c.User, c.WorkingDir = User, "/"
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()} // a date would make each build another
	file.OS, file.Architecture, file.Config = "linux", arch, c
	file.History = nil
	return mutate.ConfigFile(img, file)
}
