package pip_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pip"
	"github.com/falconer-sec/falconer/pkg/fault"
)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func source(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing":         {map[string]string{"README.md": "", "notes.txt": ""}, nil},
		"top and nested":  {map[string]string{"requirements.txt": "", "svc/a/dev-requirements.txt": "", "docs/requirements/base.txt": "", ".venv/requirements.txt": ""}, []string{".", "docs", "svc/a"}},
		"only a setup.py": {map[string]string{"setup.py": "setup(install_requires=['a'])", "x/setup.py": "setup(install_requires=['a'])"}, []string{"."}},
		"asks for none":   {map[string]string{"setup.py": "setup()"}, nil},
		"another's":       {map[string]string{"setup.py": "install_requires", "uv.lock": ""}, nil},
	} {
		got, err := pip.Manager{}.Detect(source(c.files))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestLoad(t *testing.T) {
	h := "--hash=" + digest
	for name, c := range map[string]struct {
		files    map[string]string
		want     []string // purl, and whether it has integrity
		problems []string // parts, one each
		hashed   bool
	}{
		"hashes": {files: map[string]string{"requirements.txt": "Acme_Tool[extra] == 1.0 \\\n  --hash=" + digest + " \\\n  # via x\nb===2.0+local ; python_version > '3' " + h + "  # comment\n"},
			want: []string{"pkg:pypi/acme-tool@1.0 +", "pkg:pypi/b@2.0%2Blocal +"}, hashed: true},
		"no hash":      {files: map[string]string{"requirements.txt": "a==1"}, want: []string{"pkg:pypi/a@1"}, problems: []string{"a 1 has no hash"}},
		"not pinned":   {files: map[string]string{"requirements.txt": "a>=1\nb==1.*\nc\nd==1,==2\n"}, want: []string{"pkg:pypi/a", "pkg:pypi/b", "pkg:pypi/c", "pkg:pypi/d"}, problems: []string{"a is not pinned", "b is not", "c is not", "d is not"}},
		"includes":     {files: map[string]string{"requirements.txt": "-r sub/b.txt\n-c c.txt", "sub/b.txt": "--requirement=../d.txt\n", "d.txt": "a==1 " + h, "c.txt": "zzz<3"}, want: []string{"pkg:pypi/a@1 +"}, hashed: true},
		"a loop":       {files: map[string]string{"requirements.txt": "-rrequirements.txt\na==1 " + h}, want: []string{"pkg:pypi/a@1 +"}, hashed: true},
		"elsewhere":    {files: map[string]string{"requirements.txt": "-i https://evil.example.com/simple\n--extra-index-url=https://x.example.com\na==1 " + h + "\ngit+https://forge.example.com/x.git\nx @ https://files.example.com/x.whl"}, want: []string{"pkg:pypi/a@1 +"}, problems: []string{"-i asks", "--extra-index-url asks", "from an address", "from an address"}},
		"own code":     {files: map[string]string{"requirements.txt": "-e .\n./vendored\na==1 " + h}, want: []string{"pkg:pypi/a@1 +"}},
		"unknown":      {files: map[string]string{"requirements.txt": "--frobnicate\n"}, problems: []string{"--frobnicate"}, hashed: true},
		"several":      {files: map[string]string{"requirements-dev.txt": "b==2 " + h, "requirements.txt": "a==1 " + h, "requirements/x.txt": "c==3 " + h}, want: []string{"pkg:pypi/a@1 +", "pkg:pypi/b@2 +", "pkg:pypi/c@3 +"}, hashed: true},
		"remote list":  {files: map[string]string{"requirements.txt": "-r https://files.example.com/r.txt"}, problems: []string{"can't read"}, hashed: true},
		"byte order":   {files: map[string]string{"requirements.txt": "\ufeffa==1 " + h + "\r\n"}, want: []string{"pkg:pypi/a@1 +"}, hashed: true},
		"two versions": {files: map[string]string{"requirements.txt": "a==1; python_version<'3'\na==2 " + h}, want: []string{"pkg:pypi/a@1", "pkg:pypi/a@2 +"}, problems: []string{"a 1 has no hash"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := pip.Manager{}.Load(source(c.files), ".")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, pkg := range p.Packages {
				line := pkg.PURL
				if pkg.Integrity != "" {
					line += " +"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if len(p.Problems) != len(c.problems) {
				t.Errorf("problems %q", p.Problems)
			}
			for i, part := range c.problems {
				if i < len(p.Problems) && !strings.Contains(p.Problems[i], part) {
					t.Errorf("problem %q does not say %q", p.Problems[i], part)
				}
			}
			r := pip.Manager{}.Recipe(p, ecosystem.Setting{Home: "/root", Work: "/builds/project"})
			if got := strings.Contains(strings.Join(r.Argv, " "), "--require-hashes"); got != c.hashed {
				t.Errorf("hashes required: %v", got)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":          {"setup.py": "install_requires"},
		"out of the tree":  {"requirements.txt": "-r ../../etc/passwd"},
		"absolute":         {"requirements.txt": "-r /etc/passwd"},
		"missing":          {"requirements.txt": "-r gone.txt"},
		"not a text":       {"requirements.txt": "a==1\x00"},
		"no requirement":   {"requirements.txt": "!!!"},
		"a bad hash":       {"requirements.txt": "a==1 --hash=sha256:00"},
		"an unknown hash":  {"requirements.txt": "a==1 --hash=md5:00000000000000000000000000000000"},
		"too many folders": {"requirements.txt": strings.Repeat("-r x/", 1) + "/../../y"},
	} {
		if p, err := (pip.Manager{}).Load(source(files), "."); err == nil || fault.Retryable(err) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	many := map[string]string{"requirements.txt": ""}
	for i := range pip.MaxFiles + 1 {
		many["requirements/"+strings.Repeat("x", i+1)+".txt"] = ""
	}
	if _, err := (pip.Manager{}).Load(source(many), "."); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("many files: %v", err)
	}
}

func TestPlace(t *testing.T) {
	p := ecosystem.Project{Packages: []ecosystem.Package{pip.Package("Acme.Tool", "1.0")}}
	s := ecosystem.Setting{Work: "/builds/project", Home: "/root"}
	const hex32 = "_0123456789abcdef0123456789abcdef"
	python := "/root/.virtualenvs/project/bin/python"
	hook := []string{python, "/usr/lib/python3/dist-packages/pip/_vendor/pep517/in_process/_in_process.py", "build_wheel", "/tmp/tmpx"}
	old := []string{python, "-c", "\nexec(compile('''...setup.py...''', '<pip-setuptools-caller>', \"exec\"))\n", "egg_info", "--egg-base", "/tmp/pip-pip-egg-info-x"}
	for name, c := range map[string]struct {
		argv         []string
		cwd          string
		purl, script string
		ok           bool
	}{
		"a hook":                {hook, "/tmp/pip-install-ab_12/acme-tool" + hex32, "pkg:pypi/acme-tool@1.0", "build_wheel", true},
		"in a subfolder":        {hook, "/tmp/pip-install-ab/acme-tool" + hex32 + "/python", "pkg:pypi/acme-tool@1.0", "build_wheel", true},
		"setup.py":              {old, "/tmp/pip-install-ab/acme-tool" + hex32, "pkg:pypi/acme-tool@1.0", "setup.py egg_info", true},
		"setup.py, unbuffered":  {append([]string{python, "-u"}, old[1:]...), "/tmp/pip-install-ab/acme-tool" + hex32, "pkg:pypi/acme-tool@1.0", "setup.py egg_info", true},
		"a build's requirement": {hook, "/tmp/pip-install-ab/cython" + hex32, "pkg:pypi/cython", "build_wheel", true},
		"the project":           {hook, "/builds/project/lib", "", "build_wheel", true},
		"a look-alike folder":   {hook, "/tmp/pip-install-ab/acme-tool", "", "", false},
		"pip itself":            {[]string{python, "/usr/lib/python3/dist-packages/pip/__pip-runner__.py", "install", "setuptools"}, "/builds/project", "", "", false},
		"another program":       {[]string{"git", "clone"}, "/builds/project", "", "", false},
		"a bare python":         {[]string{python}, "/builds/project", "", "", false},
	} {
		got, ok := pip.Manager{}.Place(p, s, ecosystem.Exec{Argv: c.argv, Cwd: c.cwd})
		if ok != c.ok || got.Package.PURL != c.purl || got.Script != c.script {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
		if ok && c.purl == "" && got.Package.Path != "." {
			t.Errorf("%s: not the project: %+v", name, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("a==1 --hash="+digest+"\n-r b.txt\n-c c.txt", "b[x]>=2; m == 'x'\n-e .\n")
	f.Add("-r\n--requirement\n -", "\\\n#\\\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		p, err := pip.Manager{}.Load(source(map[string]string{"requirements.txt": a, "b.txt": b}), ".")
		if err != nil {
			if fault.Retryable(err) {
				t.Errorf("a fault of the source is taken for one of ours: %v", err)
			}
			return
		}
		for _, pkg := range p.Packages {
			if !pip.ValidName(pkg.Name) || !strings.HasPrefix(pkg.PURL, "pkg:pypi/"+pkg.Name) {
				t.Errorf("package %+v", pkg)
			}
		}
		for _, arg := range (pip.Manager{}).Recipe(p, ecosystem.Setting{Home: "/root"}).Argv[4:] {
			if strings.ContainsAny(arg, "\n\x00") {
				t.Errorf("argument %q", arg)
			}
		}
	})
}
