package images

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Prefix is what the names of all images begin with.
const Prefix = "falconer-"

// koScheme is the scheme of a reference to a main package.
const koScheme = "ko://"

// Builder builds images of main packages.
type Builder struct {
	Dir     string // of the module that the packages are looked up from
	Arch    string // GOARCH; "" means this machine's
	LDFlags string // beside -s -w
}

// Build builds the mains that refs (ko://IMPORT/PATH) name, all of them with
// one run of the Go tool, and returns their images in the same order.
func (b Builder) Build(ctx context.Context, refs []string) ([]Image, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	bin, err := os.MkdirTemp("", "falconer-images-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(bin)
	var paths []string
	for _, ref := range refs {
		p, ok := strings.CutPrefix(ref, koScheme)
		if !ok {
			return nil, fmt.Errorf("%q is not a %s reference", ref, koScheme)
		}
		paths = append(paths, p)
	}
	if err := b.compile(ctx, bin, paths); err != nil {
		return nil, err
	}
	var built []Image
	for i, p := range paths {
		img, err := b.image(filepath.Join(bin, programOf(p)), programOf(p))
		if err != nil {
			return nil, fmt.Errorf("image of %s: %w", p, err)
		}
		built = append(built, Image{Ref: refs[i], Name: Prefix + programOf(p), Image: img})
	}
	return built, nil
}

func (b Builder) arch() string {
	if b.Arch == "" {
		return runtime.GOARCH
	}
	return b.Arch
}

// compile builds static programs that hold no path of this machine.
func (b Builder) compile(ctx context.Context, to string, paths []string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w " + b.LDFlags), "-o", to + "/"}
	cmd := exec.CommandContext(ctx, "go", append(args, paths...)...)
	cmd.Dir = b.Dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.arch())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// image makes the image of one program.
func (b Builder) image(file, program string) (v1.Image, error) {
	t := newTree()
	at := "/ko-app/" + program
	t[at] = entry{mode: fs.FileMode(0o755), file: file}
	layer, err := t.layer()
	if err != nil {
		return nil, err
	}
	return assemble(layer, b.arch(), v1.Config{Entrypoint: []string{at}, Env: []string{"PATH=/ko-app"}})
}
