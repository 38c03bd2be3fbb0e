"""Where figures come from: the commit that runs, and the versions that it runs with."""

import subprocess
from importlib import metadata
from pathlib import Path

from comdefend._version import __version__


def commit() -> str | None:
    """Return the commit of the source tree that runs; None where it is installed without one."""
    here = Path(__file__).parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def versions(*more: str) -> dict[str, str]:
    """Return the versions of comdefend and of everything that figures depend on.

    Args:
        more: Names of further packages; those that are not installed are left out.
    """
    attacks = ("foolbox", "pyautoattack", "adversarial-robustness-toolbox")
    names = ("torch", "torchvision", *attacks, "numpy", "pillow", *more)
    installed = {"comdefend": __version__}
    for name in names:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
