package images

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const manifests = `# ko://example.com/in/a/comment
image: ko://example.com/x/cmd/planner
  value: ko://example.com/x/v2
  - sandbox://npm
again: "ko://example.com/x/cmd/planner"
`

func TestResolve(t *testing.T) {
	want := []string{"ko://example.com/x/cmd/planner", "ko://example.com/x/v2", "sandbox://npm"}
	if diff := cmp.Diff(want, Refs([]byte(manifests))); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	names := map[string]string{want[0]: "r/planner:1", want[1]: "r/x:2", want[2]: "r/npm@sha256:3"}
	got, err := Resolve([]byte(manifests), names)
	if err != nil {
		t.Fatal(err)
	}
	text := "# ko://example.com/in/a/comment\nimage: r/planner:1\n  value: r/x:2\n  - r/npm@sha256:3\nagain: \"r/planner:1\"\n"
	if diff := cmp.Diff(text, string(got)); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
	delete(names, want[1])
	if _, err := Resolve([]byte(manifests), names); err == nil || !strings.Contains(err.Error(), want[1]) {
		t.Errorf("a reference without an image: %v", err)
	}
}

// program makes an image of a file with this content and modification.
func program(t *testing.T, content string) Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	img, err := Builder{Arch: "amd64"}.image(file, "program")
	if err != nil {
		t.Fatal(err)
	}
	return Image{Ref: "ko://example.com/program", Name: Prefix + "program", Image: img}
}

func tagOf(t *testing.T, i Image) string {
	t.Helper()
	tag, err := i.Tagged("dev.local")
	if err != nil {
		t.Fatal(err)
	}
	return tag.String()
}

// TestSameContentSameImage: neither place nor time of the build counts.
func TestSameContentSameImage(t *testing.T) {
	a, b, other := tagOf(t, program(t, "x")), tagOf(t, program(t, "x")), tagOf(t, program(t, "y"))
	if a != b || a == other {
		t.Errorf("%s, %s; of another program %s", a, b, other)
	}
}

func TestTarballAndLayout(t *testing.T) {
	dir, img := t.TempDir(), program(t, "x")
	if err := WriteTarballs(dir, "dev.local", []Image{img}); err != nil {
		t.Fatal(err)
	}
	read, err := tarball.ImageFromPath(filepath.Join(dir, "falconer-program.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := read.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Config.User != User || !cmp.Equal(file.Config.Entrypoint, []string{"/ko-app/program"}) || file.OS != "linux" {
		t.Errorf("configuration %+v", file)
	}
	want := []string{"etc/", "etc/group", "etc/passwd", "ko-app/", "ko-app/program", "tmp/"}
	if diff := cmp.Diff(want, files(t, read)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := WriteLayout(filepath.Join(dir, "layout"), "dev.local", []Image{img}); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Annotations[refName] != tagOf(t, img) {
		t.Errorf("index %+v", m)
	}
}

func files(t *testing.T, img v1.Image) (names []string) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Mode&0o6000 != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d, mode %o, time %v", h.Name, h.Uid, h.Mode, h.ModTime)
		}
		names = append(names, h.Name)
	}
}

func TestProgramNames(t *testing.T) {
	for path, want := range map[string]string{"example.com/nats-server/v2": "nats-server", "example.com/x/cmd/runner": "runner"} {
		if got := programOf(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}
