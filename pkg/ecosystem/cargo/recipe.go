package cargo

import (
	"path"
	"strconv"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// RecipeVersion changes whenever the recipe does.
const RecipeVersion = "cargo-1"

// CacheDir is where crates lie inside the sandbox, relative to the home
// directory: a folder that `cargo vendor` made.
const CacheDir = ".cache/crates"

// Recipe returns `cargo check` of the whole workspace with its tests and
// examples, as locked, from a folder of vendored crates: it runs every build
// script and procedural macro that `cargo build` runs, and leaves out making
// machine code. The settings on the command line outrank the project's own.
func (Manager) Recipe(_ ecosystem.Project, s ecosystem.Setting) ecosystem.Recipe {
	sysroot := []string{"rustc", "--print", "sysroot"}
	target := path.Join(s.Work, "target")
	return ecosystem.Recipe{Version: RecipeVersion,
		Argv: []string{"cargo", "check", "--workspace", "--all-targets", "--locked", "--offline", "--keep-going",
			"--config", `source.crates-io.replace-with="vendored"`,
			"--config", "source.vendored.directory=" + strconv.Quote(path.Join(s.Home, CacheDir)),
			"--config", `build.target-dir=` + strconv.Quote(target),
		},
		Env: []string{"HOME=" + s.Home, "CARGO_HOME=" + path.Join(s.Home, ".cargo"), "CARGO_TERM_COLOR=never", "CARGO_TERM_PROGRESS_WHEN=never",
			"CARGO_INCREMENTAL=0", "CARGO_NET_OFFLINE=true"},
		Programs: []ecosystem.Program{
			{Name: "cargo", Hint: "install Rust", Prefix: sysroot},
			{Name: "rustc", Hint: "install Rust", Prefix: sysroot},
			{Name: "cc", Hint: "install a C compiler, with which rustc links build scripts (Debian: gcc libc6-dev)"},
		},
		Image: "rust", Registry: Name, Cache: CacheDir,
		Own: []string{target + "/", path.Join(s.Home, ".cargo") + "/"},
	}
}
