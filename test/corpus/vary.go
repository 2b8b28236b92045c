package corpus

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// interpreters are the programs that run what a variant's ending says.
var interpreters = map[string]string{".js": "node", ".sh": "sh", ".bash": "bash", ".py": "python3", ".pl": "perl", ".rb": "ruby", ".php": "php", ".tcl": "tclsh"}

// vary makes the packages of an act.
func vary(act string, files map[string]string) ([]Variant, error) {
	var out []Variant
	add := func(name, hook, command string, deps map[string]string, content map[string]string) *Variant {
		v := Variant{Name: name, Package: "falconer-acts-" + act + "-" + name, Script: hook, files: content, needs: deps}
		manifest := map[string]any{"name": v.Package, "version": "1.0.0", "description": "Acts out an attack for detection tests; harmless."}
		if hook != "" { // the name in the command shows in every process chain
			manifest["scripts"] = map[string]string{hook: command + " " + v.Package + " || true"} // one that fails must not end the others
		}
		if deps != nil {
			manifest["dependencies"] = deps
		}
		if content["index.js"] == "" {
			content["index.js"] = "module.exports = 1\n"
		}
		b, _ := json.MarshalIndent(manifest, "", "  ") // strings only
		v.files["package.json"] = string(b) + "\n"
		out = append(out, v)
		return &out[len(out)-1]
	}
	if js := files["act.js"]; js != "" {
		script := map[string]string{"act.js": js}
		with := func(name, text string) map[string]string {
			m := maps.Clone(script)
			m[name] = text
			return m
		}
		culprit := add("plain", "postinstall", "node act.js", nil, script).Package
		add("innocent", "", "", map[string]string{culprit: "1.0.0"}, map[string]string{"index.js": "module.exports = require('" + culprit + "')\n"})
		add("obfuscated", "preinstall", "node .", nil, map[string]string{"index.js": obfuscate(js)})
		add("delayed", "install", "node late.js", nil, with("late.js", "setTimeout(() => require('./act.js'), 1500)\n"))
		add("child", "postinstall", "node start.js", nil, with("start.js", "require('child_process').spawn(process.execPath, ['act.js'], { detached: true, stdio: 'ignore' }).unref()\n"))
		add("thread", "postinstall", "node start.js", nil, with("start.js", "new (require('worker_threads').Worker)('./act.js')\n"))
		add("background", "postinstall", `sh -c "exec 3>&1; node ./act.js & wait" sh`, nil, maps.Clone(script))
		add("early", "preinstall", "node act.js", nil, maps.Clone(script))
	}
	if c := files["act.c"]; c != "" {
		v := add("native", "postinstall", "node load.js", nil, map[string]string{"addon.c": strings.ReplaceAll(addon, "ACT", c), "load.js": "require('./build/Release/addon.node')\n",
			"binding.gyp": `{"targets": [{"target_name": "addon", "sources": ["addon.c"]}]}`, "index.js": "module.exports = require('./load.js')\n"})
		v.Needs = "gcc"
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch dir, file := path.Split(name); {
		case dir == "more/":
			program := interpreters[path.Ext(file)]
			if program == "" {
				return nil, fmt.Errorf("nothing runs %s", name)
			}
			v := add(strings.TrimSuffix(file, path.Ext(file)), "postinstall", program+" "+file, nil, map[string]string{file: files[name]})
			if v.Needs = program; program == "node" || program == "sh" {
				v.Needs = ""
			}
		case strings.HasPrefix(name, "pkg/") && file == "package.json":
			v, err := verbatim(path.Dir(name), files)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		case name != "act.js" && name != "act.c" && !strings.HasPrefix(name, "pkg/"):
			return nil, fmt.Errorf("%s is no variant", name)
		}
	}
	return out, nil
}

// verbatim is a package that is there as it is.
func verbatim(dir string, files map[string]string) (Variant, error) {
	v := Variant{Name: path.Base(dir), files: map[string]string{}}
	for name, text := range files {
		if rel, ok := strings.CutPrefix(name, dir+"/"); ok {
			v.files[rel] = text
		}
	}
	var m struct {
		Name         string
		Scripts      map[string]string
		Dependencies map[string]string
	}
	if err := json.Unmarshal([]byte(v.files["package.json"]), &m); err != nil {
		return v, fmt.Errorf("%s: %w", dir, err)
	}
	v.Package, v.needs = m.Name, m.Dependencies
	for hook := range m.Scripts {
		v.Script = hook
	}
	return v, nil
}

// obfuscate hides a script's text the way that packers do: bytes turned by a
// running key, decoded and compiled when it runs.
func obfuscate(js string) string {
	const key = 0x5d
	b := []byte("const __filename=process.argv[1];" + js)
	for i := range b {
		b[i] ^= byte(key + i*7)
	}
	return "const _0=" + strconv.Quote(base64.StdEncoding.EncodeToString(b)) + `;const _1=Buffer["fr"+"om"](_0,"base"+64).map((c,i)=>c^((93+i*7)&255)).toString();` +
		`(0,global["Func"+"tion"])("require","module",_1)(require,module)` + "\n"
}

// addon is a native module that acts when it is loaded.
const addon = `#define _GNU_SOURCE
#include <node_api.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void act(void) {
ACT
}

static napi_value init(napi_env env, napi_value exports) {
  act();
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
`
