// Command images builds the container images that manifests name, and resolves
// the names:
//
//	kustomize build config/overlays/dev | images > resolved.yaml
//
// With a repository (-repo, KO_DOCKER_REPO) it pushes the images and writes
// their digests into the manifests; without one it writes tarballs and an OCI
// layout, and names that a load into the cluster's nodes will satisfy.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/config/images"
)

// localRepo is the repository of images that are loaded, not pulled: Knative
// does not resolve its tags, and no registry answers to that name.
const localRepo = "dev.local"

func main() {
	var m build
	flag.StringVar(&m.repo, "repo", os.Getenv("KO_DOCKER_REPO"), "repository to push to; none if empty")
	flag.StringVar(&m.dir, "dir", "dist/images", "where tarballs and the OCI layout go")
	flag.StringVar(&m.sandbox, "sandbox", os.Getenv("FALCONER_SANDBOX_IMAGE"), "image of scan pods; built of this machine's programs if empty")
	flag.BoolVar(&m.layout, "layout", false, "write an OCI layout as well")
	flag.StringVar(&m.builder.Arch, "arch", "", "GOARCH of the images; this machine's if empty")
	flag.StringVar(&m.builder.LDFlags, "ldflags", "", "linker flags beside -s -w")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := m.run(ctx, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		stop()
		os.Exit(1)
	}
}

// build is one run of the command.
type build struct {
	repo, dir, sandbox string
	layout             bool
	builder            images.Builder
}

func (b build) run(ctx context.Context, in io.Reader, out, log io.Writer) error {
	manifests, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	names := map[string]string{}
	refs := images.Refs(manifests)
	if b.sandbox != "" {
		names[images.SandboxNPM] = b.sandbox
	}
	built, err := b.images(ctx, refs)
	if err != nil {
		return err
	}
	if err := b.deliver(ctx, built, names, log); err != nil {
		return err
	}
	resolved, err := images.Resolve(manifests, names)
	if err != nil {
		return err
	}
	_, err = out.Write(resolved)
	return err
}

// images builds what the references name, but for a sandbox image that is given.
func (b build) images(ctx context.Context, refs []string) ([]images.Image, error) {
	mains := slices.DeleteFunc(slices.Clone(refs), func(r string) bool { return !strings.HasPrefix(r, "ko://") })
	built, err := b.builder.Build(ctx, mains)
	if err != nil || b.sandbox != "" || !slices.Contains(refs, images.SandboxNPM) {
		return built, err
	}
	sandbox, err := images.Host(ctx)
	return append(built, sandbox), err
}

// deliver pushes or writes the images and notes their names.
func (b build) deliver(ctx context.Context, built []images.Image, names map[string]string, log io.Writer) error {
	start, repo := time.Now(), b.repo
	if repo == "" {
		repo = localRepo
	}
	for _, img := range built {
		tag, err := img.Tagged(repo)
		if err != nil {
			return err
		}
		size, err := compressed(img)
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "%-28s %7.1f MB  %s\n", img.Name, float64(size)/1e6, tag)
		names[img.Ref] = tag.String()
		if b.repo == "" {
			continue
		}
		digest, err := img.Digested(repo)
		if err != nil {
			return err
		}
		names[img.Ref] = digest.String()
	}
	if b.repo != "" {
		return images.Push(ctx, repo, built)
	}
	if err := images.WriteTarballs(b.dir, repo, built); err != nil {
		return err
	}
	if b.layout {
		if err := images.WriteLayout(filepath.Join(b.dir, "layout"), repo, built); err != nil {
			return err
		}
	}
	fmt.Fprintf(log, "written to %s in %s\n", b.dir, time.Since(start).Round(time.Millisecond))
	return nil
}

// compressed is what a node downloads of an image, in bytes.
func compressed(img images.Image) (total int64, err error) {
	layers, err := img.Layers()
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, err
}
