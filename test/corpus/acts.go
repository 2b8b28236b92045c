package corpus

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// Act is one behaviour acted out in several variants, made from a file of
// acts/:
//
//	About, one line.
//	behaviours: A B          any of them is right
//	alone: yes               the variants spoil each other: a scan for each
//	-- act.js --             acts; see vary for what is made of it
//	-- act.c --              the same as the body of a C function
//	-- more/NAME.EXT --      another variant, run by its ending's interpreter
//	-- pkg/NAME/... --       a package as it is
type Act struct {
	Number     string // of the behaviour: "05"
	Name       string
	About      string
	Behaviours []string
	Alone      bool
	Variants   []Variant
}

// Variant is a package that acts.
type Variant struct {
	Name    string // "delayed"
	Package string // "falconer-acts-credentials-delayed"
	Script  string // the lifecycle script that acts; "" for a package that does not
	Needs   string // the program that its script takes, beside node
	files   map[string]string
	needs   map[string]string // its dependencies
}

// Acts reads the acted behaviours, by number.
func Acts() ([]Act, error) {
	names, err := fs.Glob(FS, "acts/*.txtar")
	if err != nil {
		return nil, err
	}
	var out []Act
	for _, name := range names {
		b, err := fs.ReadFile(FS, name)
		if err != nil {
			return nil, err
		}
		a, err := parseAct(strings.TrimSuffix(path.Base(name), ".txtar"), txtar.Parse(b))
		if err != nil {
			return nil, fmt.Errorf("corpus: %s: %w", name, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func parseAct(name string, ar *txtar.Archive) (Act, error) {
	var a Act
	a.Number, a.Name, _ = strings.Cut(name, "-")
	for i, line := range strings.Split(strings.TrimSpace(string(ar.Comment)), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case i == 0:
			a.About = line
		case key == "behaviours":
			a.Behaviours = strings.Fields(value)
		case key == "alone":
			a.Alone = true
		default:
			return a, fmt.Errorf("%q is not understood", line)
		}
	}
	files := map[string]string{}
	for _, f := range ar.Files {
		files[f.Name] = string(f.Data)
	}
	var err error
	if a.Variants, err = vary(a.Name, files); err == nil && (a.About == "" || len(a.Behaviours) == 0) {
		err = fmt.Errorf("no description or no behaviours")
	}
	return a, err
}

// Cases makes the projects to scan: one that depends on all variants and on a
// bystander, which has an install script too and does nothing, or one for
// each variant of an act that is done alone. have says which programs there
// are; what needs others is left out.
func (a Act) Cases(have func(program string) bool) ([]Case, error) {
	var groups [][]Variant
	for _, v := range a.Variants {
		switch {
		case v.Needs != "" && !have(v.Needs), a.Alone && v.Script == "":
		case a.Alone || len(groups) == 0:
			groups = append(groups, []Variant{v})
		default:
			groups[0] = append(groups[0], v)
		}
	}
	var out []Case
	for _, g := range groups {
		name := "act-" + a.Number + "-" + a.Name
		if a.Alone {
			name += "-" + g[0].Name
		}
		c, err := a.project(name, g)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

const bystander = "falconer-acts-bystander"

func (a Act) project(name string, variants []Variant) (Case, error) {
	c := Case{Name: name, Expect: Expect{About: a.About, Verdict: finding.Malicious, Accept: []finding.Verdict{finding.Suspicious}, Timeout: "6m", Native: new(bool)}}
	deps := map[string]string{bystander: "1.0.0"}
	fsys := fstest.MapFS{}
	put := func(name, text string) { fsys[name] = &fstest.MapFile{Data: []byte(text)} }
	put("packages/"+bystander+"/package.json", `{"name": "`+bystander+`", "version": "1.0.0", "scripts": {"postinstall": "node hello.js"}}`)
	put("packages/"+bystander+"/hello.js", "console.log('hello')\n")
	put("packages/"+bystander+"/index.js", "module.exports = 1\n")
	inner := map[string]bool{}
	for _, v := range variants {
		deps[v.Package] = "1.0.0"
		for dep := range v.needs {
			inner[dep] = true
		}
		for file, text := range v.files {
			put(path.Join("packages", v.Package, file), text)
		}
		if v.Script != "" {
			c.Expect.Findings = append(c.Expect.Findings, Finding{Behaviour: a.Behaviours[0], Or: a.Behaviours[1:], Package: "pkg:npm/" + v.Package + "@1.0.0", Script: v.Script})
		}
	}
	for dep := range inner { // the project does not ask for what another brings
		delete(deps, dep)
	}
	manifest, err := json.MarshalIndent(map[string]any{"name": name, "version": "1.0.0", "private": true, "dependencies": deps}, "", "  ")
	if err != nil {
		return c, err
	}
	put("package.json", string(manifest)+"\n")
	put("package-lock.json", "{}")
	c.dir = fsys
	lock, err := c.Lockfile()
	put("package-lock.json", string(lock))
	return c, err
}

// All returns the cases of FS and those of the acts, by name.
func All(have func(program string) bool) ([]Case, error) {
	all, err := Load(FS)
	if err != nil {
		return nil, err
	}
	acts, err := Acts()
	if err != nil {
		return nil, err
	}
	for _, a := range acts {
		cases, err := a.Cases(have)
		if err != nil {
			return nil, err
		}
		all = append(all, cases...)
	}
	slices.SortFunc(all, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}
