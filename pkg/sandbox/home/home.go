// Package home makes up a developer's home directory for a sandbox: what a
// thief looks for is there, and every credential is one of the scan's canaries,
// which open nothing.
package home

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/falconer-sec/falconer/pkg/canary"
)

// plain are the files of a home that hold no credential.
var plain = map[string]string{
	".bashrc":     "# ~/.bashrc\nexport EDITOR=vi\nalias ll='ls -l'\n",
	".profile":    "# ~/.profile\n[ -n \"$BASH_VERSION\" ] && . \"$HOME/.bashrc\"\n",
	".gitconfig":  "[user]\n\tname = Build\n\temail = build@example.com\n[init]\n\tdefaultBranch = main\n[credential]\n\thelper = store\n[safe]\n\tdirectory = *\n",
	".aws/config": "[default]\nregion = eu-central-1\n",
	// What was done here before: it leads a reader to the credentials.
	".bash_history": "cd /builds\nls -la\ngit fetch origin main\nnpm ci\nnpm run build\ndocker login registry.example.com\naws s3 ls\naws s3 sync dist s3://web-assets-prod\n" +
		"kubectl config use-context prod\nkubectl get pods -n web\nssh deploy@web-1.example.com\nvi ~/.npmrc\ngit push origin main\nexit\n",
	".ssh/config": "Host gitlab.example.com\n  User git\n  IdentityFile ~/.ssh/id_ed25519\n",
}

// Write fills dir with a home whose credentials are the set's, readable by
// their owner only. It makes dir where it does not exist.
func Write(dir string, set *canary.Set) error {
	for name, text := range plain {
		if err := write(dir, name, []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, f := range set.Files() {
		if f.Place != canary.Home {
			continue
		}
		if err := write(dir, f.Path, f.Data, f.Mode); err != nil {
			return err
		}
	}
	return nil
}

func write(dir, name string, data []byte, mode fs.FileMode) error {
	at := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, data, mode)
}

// Plant adds to a project what is the set's and is not there. The project is
// nobody's friend: links are not followed out of it, and where something is in
// the way, that file is left out.
func Plant(project string, set *canary.Set) error {
	root, err := os.OpenRoot(project)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range set.Files() {
		if f.Place != canary.Project {
			continue
		}
		w, err := root.OpenFile(path.Clean(f.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = w.Write(f.Data)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
	return nil
}
