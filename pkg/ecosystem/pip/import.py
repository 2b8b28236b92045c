# Loads what is installed in a virtual environment, each module in a process of
# its own, and says through marks whose code runs. This process runs none of it:
# it starts without the environment's site-packages. Arguments: the
# environment's folder, distributions' names.
import os
import re
import subprocess
import sys

MODULES = 20  # of one distribution
SECONDS = 60  # for one module
site = "%s/lib/python%d.%d/site-packages" % ((sys.argv[1],) + tuple(sys.version_info[:2]))
python = sys.argv[1] + "/bin/python"


def mark(state, index, reason=""):
    try:
        os.close(os.open("/dev/null/import/%s/%d%s" % (state, index, reason and "/" + reason), os.O_RDONLY))
    except OSError:
        pass


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def installed():
    found = {}
    for entry in os.listdir(site):
        stem, ending = os.path.splitext(entry)
        if ending in (".dist-info", ".egg-info"):
            found[normal(stem.split("-")[0])] = os.path.join(site, entry)
    return found


def files(info):
    for name in ("RECORD", "installed-files.txt"):
        try:
            with open(os.path.join(info, name), encoding="utf-8", errors="replace") as f:
                for line in f:
                    name = line.rstrip("\n").split(",")[0].strip('"')
                    yield name[3:] if name.startswith("../") and "site-packages" not in name else name
        except OSError:
            pass


def code(info):
    modules, hooks = {}, {}
    for name in files(info):
        first, _, rest = name.partition("/")
        if not rest and first.endswith(".pth"):
            hooks[first] = True
        elif rest == "__init__.py" and first.isidentifier():
            modules[first] = True
        elif not rest and first.endswith((".py", ".so")) and first.split(".")[0].isidentifier():
            modules[first.split(".")[0]] = True
    return list(hooks), list(modules)


def run(source):
    try:
        done = subprocess.run([python, "-S", "-c", source], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "Timeout"
    if done.returncode == 0 and b"Error processing line" not in done.stderr:  # a .pth's failure is no failure to Python
        return ""
    last = done.stderr.decode("utf-8", "replace").rstrip().rsplit("\n", 1)[-1]
    sys.stderr.write(source.rsplit(";", 1)[-1].strip() + ": " + last + "\n")
    word = re.match(r"[A-Za-z_][A-Za-z0-9_]*", last)
    return word.group(0)[:64] if word else "Status-%d" % abs(done.returncode)


found = installed()
for index, name in enumerate(sys.argv[2:]):
    info = found.get(name)
    if info is None:
        continue  # a marker left it out
    hooks, modules = code(info)
    mark("run", index)
    reason = ""
    for hook in hooks:
        reason = run("import site; site.addpackage(%r, %r, set())" % (site, hook)) or reason
    for module in modules[:MODULES]:
        reason = run("import sys; sys.path.insert(1, %r); import %s" % (site, module)) or reason
    mark("own", 0)
    if reason:
        mark("failed", index, reason)
    else:
        mark("ok", index)
