"""Environments of their own, with the wheel and the extras that a user asks for."""

import os
import subprocess
import sys
from pathlib import Path

from tools.docs.blocks import NO_EXTRA
from tools.docs.records import ROOT
from tools.package import UV


def interpreter(version):
    """Return the path of a Python of this version, or None where this machine has none."""
    # uv gives up at a shim of pyenv whose version is not the chosen one: what it stands for, first.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [*map(str, sorted(pyenv.glob("versions/*/bin"))), os.environ["PATH"]]
    found = subprocess.run(
        [UV, "python", "find", "--no-project", version], capture_output=True, text=True,
        env={**os.environ, "PATH": os.pathsep.join(places)},
    )  # fmt: skip
    return found.stdout.strip() if found.returncode == 0 else None


def install(wheel, extra, place, python=sys.executable):
    """Make a bare environment, install the wheel with an extra, and return its variables."""
    subprocess.run([UV, "venv", "--quiet", "--python", python, place], check=True)
    wanted = "comdefend" if extra == NO_EXTRA else f"comdefend[{extra}]"
    command = [UV, "pip", "install", "--quiet", "--python", place]
    # The versions that the other tests run with, checked against their hashes.
    command += ["--constraints", ROOT / "requirements/dev.txt", f"{wanted} @ {wheel.as_uri()}"]
    subprocess.run(command, check=True)
    # Without cached bytecode every command would compile torch again.
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**variables, "PATH": f"{place / 'bin'}{os.pathsep}{variables['PATH']}"}
