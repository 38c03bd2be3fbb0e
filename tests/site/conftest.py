import os
import subprocess
import sys

import pytest

from tools.docs.records import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the documentation site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-c", "tools/site", "-W", "--keep-going", "-q"]
    # The sources of this checkout, not of whatever else is installed.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, ".", folder], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder
