"""Where the code that runs comes from."""

import subprocess
from pathlib import Path


def commit() -> str | None:
    """Return the commit of the source tree that runs; None where it is installed without one."""
    here = Path(__file__).parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
