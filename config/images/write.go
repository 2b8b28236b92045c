package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// refName is the annotation of an OCI layout's index that names an image.
const refName = "org.opencontainers.image.ref.name"

// WriteTarballs writes a docker-archive for each image into dir, NAME.tar, as
// `docker load`, `kind load image-archive` and `ctr images import` take it. An
// archive that holds the image already is left alone.
func WriteTarballs(dir, repo string, images []Image) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, img := range images {
		tag, err := img.Tagged(repo)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, img.Name+".tar")
		if same(file, img) {
			continue
		}
		tmp := file + ".new"
		if err := tarball.WriteToFile(tmp, tag, img.Image); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		if err := os.Rename(tmp, file); err != nil {
			return err
		}
	}
	return nil
}

// same reports whether a tarball holds just this image.
func same(file string, img Image) bool {
	old, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		return false
	}
	a, err1 := old.ConfigName()
	b, err2 := img.ConfigName()
	return err1 == nil && err2 == nil && a == b
}

// WriteLayout writes all images into dir as one OCI image layout. What was
// there before is replaced.
func WriteLayout(dir, repo string, images []Image) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	for _, img := range images {
		tag, err := img.Tagged(repo)
		if err != nil {
			return err
		}
		platform := &v1.Platform{OS: "linux"}
		if c, err := img.ConfigFile(); err == nil {
			platform.Architecture = c.Architecture
		}
		opts := []layout.Option{layout.WithAnnotations(map[string]string{refName: tag.String()}), layout.WithPlatform(*platform)}
		if err := p.AppendImage(img.Image, opts...); err != nil {
			return fmt.Errorf("write %s into the layout: %w", img.Name, err)
		}
	}
	return nil
}

// Push pushes the images to a repository, with the credentials that docker
// login left.
func Push(ctx context.Context, repo string, images []Image) error {
	for _, img := range images {
		tag, err := img.Tagged(repo)
		if err != nil {
			return err
		}
		if err := remote.Write(tag, img.Image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
	}
	return nil
}
