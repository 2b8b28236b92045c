# Makes a virtual environment and becomes this installation's pip in it, as
# "pip --python" does. Arguments: the environment's folder, pip's own. In place of
# a requirements file, --lock=FILE names a lockfile of poetry's or uv's.
import os
import sys
import venv

import pip

target = sys.argv[1]
venv.EnvBuilder(with_pip=False, symlinks=True).create(target)
python = os.path.join(target, "bin", "python")
os.environ["VIRTUAL_ENV"] = target
os.environ["PATH"] = os.path.join(target, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
runner = os.path.join(os.path.dirname(os.path.realpath(pip.__file__)), "__pip-runner__.py")
bundled = []
try:
    import ensurepip
    # What an environment of this Python starts with: builds ask for it.
    bundled = ["--find-links=" + d for d in (getattr(ensurepip, "_WHEEL_PKG_DIR", None), os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")) if d and os.path.isdir(d)]
except ImportError:
    pass


def elsewhere(file):
    """Whether a file is a wheel for another system."""
    file = file.rsplit("/", 1)[-1]
    return file.endswith(".whl") and not any(word in file.rsplit("-", 1)[-1] for word in ("any", "linux"))


def pinned(name):
    """What a lockfile pins, in the lines of a requirements file."""
    try:
        import tomllib
    except ImportError:
        from pip._vendor import tomli as tomllib
    with open(name, "rb") as f:
        doc = tomllib.load(f)
    older = doc.get("metadata", {}).get("files", {})
    for p in doc.get("package", ()):
        source = p.get("source", {})
        if p.get("optional") or source and "registry" not in source and source.get("type") != "legacy":
            continue
        files = p.get("files") or older.get(p["name"]) or [f for f in [p.get("sdist")] + p.get("wheels", []) if f]
        if files and all(elsewhere(f.get("file") or f.get("url", "")) for f in files):
            continue
        yield "%s==%s %s\n" % (p["name"], p["version"], " ".join("--hash=" + f["hash"] for f in files if "hash" in f))


args = []
for arg in sys.argv[2:]:
    if arg.startswith("--lock="):
        lock, arg = arg[len("--lock="):], os.path.join(target, "requirements.txt")
        with open(arg, "w", encoding="utf-8") as f:
            f.writelines(pinned(lock))
        arg = "--requirement=" + arg
    args.append(arg)
os.execv(python, [python, runner, "install"] + bundled + args)
