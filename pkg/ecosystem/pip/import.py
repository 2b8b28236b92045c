# Loads what is installed in a virtual environment, each module in a process of
# its own (a fork: a new interpreter would take longer), and says through marks
# whose code runs. This process runs none of it: it starts without the
# environment's site-packages. Arguments: the environment's folder,
# distributions' names.
import importlib
import io
import os
import re
import signal
import sys
import time

MODULES = 20  # of one distribution
SECONDS = 60  # for one module
site = "%s/lib/python%d.%d/site-packages" % ((sys.argv[1],) + tuple(sys.version_info[:2]))


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


def prepare():
    sys.path.insert(1, site)
    sys.prefix = sys.exec_prefix = sys.argv[1]
    sys.argv = [""]
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def load_hook(hook):
    prepare()
    import site as python_site
    errors, sys.stderr = sys.stderr, io.StringIO()  # a .pth's failure is no failure to Python
    python_site.addpackage(site, hook, set())
    said, sys.stderr = sys.stderr.getvalue(), errors
    if "Error processing line" in said:
        raise ImportError(said.rstrip().rsplit("\n", 1)[-1])


def load_module(module):
    prepare()
    importlib.import_module(module)


def run(load, name):
    """Runs load(name) in a process of its own, and returns the error's name."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            load(name)
        except BaseException as e:
            code = 1
            sys.stderr.write("import %s: %s: %s\n" % (name, type(e).__name__, str(e)[:200]))
            if not isinstance(e, SystemExit):
                code = 2
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "" if status == 0 else {1 << 8: "SystemExit", 2 << 8: "ImportError"}.get(status, "Status-%d" % status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "Timeout"


mark("own", 0)
found = installed()
for index, name in enumerate(sys.argv[2:]):
    info = found.get(name)
    if info is None:
        mark("ok", index)  # a marker left it out
        continue
    hooks, modules = code(info)
    mark("run", index)
    reason = ""
    for hook in hooks:
        reason = run(load_hook, hook) or reason
    for module in modules[:MODULES]:
        reason = run(load_module, module) or reason
    mark("own", 0)
    if reason:
        mark("failed", index, reason)
    else:
        mark("ok", index)
