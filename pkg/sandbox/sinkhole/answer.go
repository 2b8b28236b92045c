package sinkhole

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
)

// answer is what a request gets. A program that goes on only after a plausible
// answer shall go on, and one that has another way when a prebuilt file is
// missing shall take it, as it does without a network.
type answer struct {
	status int
	kind   string // Content-Type
	body   string
}

// Bodies are harmless to whatever reads them: an empty line is a program in
// every script language, {} is one in most and JSON too.
var (
	missing = answer{http.StatusNotFound, "text/plain", "Not Found\n"}
	blank   = answer{http.StatusOK, "text/plain", "\n"}
	object  = answer{http.StatusOK, "application/json", "{}\n"}
	done    = answer{http.StatusOK, "application/json", "{\"ok\":true}\n"}
	role    = answer{http.StatusOK, "text/plain", "build-runner"}
)

// archives are the endings of files that programs fetch prebuilt.
var archives = []string{".tgz", ".gz", ".tar", ".zip", ".xz", ".bz2", ".br", ".zst", ".7z", ".node", ".exe", ".dll", ".so", ".dylib", ".dmg", ".pkg", ".deb", ".rpm",
	".msi", ".whl", ".jar", ".wasm", ".apk", ".gem", ".crate", ".sha1", ".sha256", ".sha512", ".asc", ".sig", ".sha256sum"}

// platforms are the parts of the names of prebuilt programs without an ending.
var platforms = []string{"linux", "darwin", "macos", "win32", "win64", "windows", "x64", "x86_64", "x86-64", "amd64", "arm64", "aarch64", "musl", "glibc", "shasums", "checksums"}

// scripts are the endings of what an interpreter reads.
var scripts = []string{".sh", ".bash", ".js", ".mjs", ".cjs", ".py", ".pl", ".rb", ".php", ".ps1", ".txt"}

// answerTo chooses the answer to a request.
func answerTo(r *http.Request) answer {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return done
	}
	name := strings.ToLower(path.Base(r.URL.Path))
	ending := path.Ext(name)
	agent := strings.ToLower(r.UserAgent())
	switch {
	case strings.HasSuffix(r.URL.Path, "/security-credentials/"): // a cloud's metadata service: the next question is for the role's keys
		return role
	case slices.Contains(scripts, ending):
		return blank
	case slices.Contains(archives, ending) || slices.ContainsFunc(platforms, func(p string) bool { return strings.Contains(name, p) }):
		return missing
	case ending == ".json" || strings.Contains(r.Header.Get("Accept"), "application/json"):
		return object
	case strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "wget"): // whose output goes to a shell
		return blank
	}
	return object
}

// bytes is the answer as HTTP. The connection ends with it: each request is a
// conversation of its own.
func (a answer) bytes(r *http.Request, date string) []byte {
	body := a.body
	if r.Method == http.MethodHead {
		body = ""
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nServer: nginx\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		a.status, http.StatusText(a.status), date, a.kind, len(a.body), body)
}
