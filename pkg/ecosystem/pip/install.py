# Makes a virtual environment and becomes this installation's pip in it, as
# "pip --python" does. Arguments: the environment's folder, pip's own.
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
os.execv(python, [python, runner, "install"] + bundled + sys.argv[2:])
