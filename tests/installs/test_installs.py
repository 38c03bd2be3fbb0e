"""Every documented install, in an environment of its own, does what the documents say it does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installs.stand_ins import NAMES, write_stand_ins
from tools.docs.blocks import NO_EXTRA, blocks, extras, pages
from tools.docs.records import ROOT

UV = Path(sys.executable).with_name("uv")

# Runs the blocks of one page one after the other, and says which of them fails.
RUNNER = f"""
import json, signal, subprocess, sys, traceback, urllib.request
{NAMES}

def serve(command):
    process = subprocess.Popen(command.split(), stdout=subprocess.PIPE, text=True)
    try:
        with urllib.request.urlopen(process.stdout.readline().split()[0], timeout=60) as page:
            assert page.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()

for language, text, serves in json.loads(sys.stdin.read()):
    print(text, flush=True)
    try:
        if serves:
            serve(text)
        elif language == "python":
            exec(compile(text, "document", "exec"), names)
        else:
            subprocess.run(["bash", "-ec", text], check=True)
    except Exception:
        traceback.print_exc()
        sys.exit("this block fails:\\n" + text)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    if not UV.is_file():
        pytest.skip("uv is not in the environment of the tests")
    build = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A folder with what the documents take for granted."""
    folder = tmp_path_factory.mktemp("user")
    write_stand_ins(folder)
    return folder


def install(wheel, extra, place):
    """Make a bare environment, install the wheel with an extra, and return its variables."""
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, place], check=True)
    wanted = "comdefend" if extra == NO_EXTRA else f"comdefend[{extra}]"
    command = [UV, "pip", "install", "--quiet", "--python", place]
    # The versions that the other tests run with, checked against their hashes.
    command += ["--constraints", ROOT / "requirements/dev.txt", f"{wanted} @ {wheel.as_uri()}"]
    subprocess.run(command, check=True)
    # Without cached bytecode every command would compile torch again.
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**variables, "PATH": f"{place / 'bin'}{os.pathsep}{variables['PATH']}"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", extras())
def test_an_install_does_what_the_documents_say(wheel, user, tmp_path, extra):
    environment = install(wheel, extra, tmp_path / "environment")
    environment["COMDEFEND_DATA"] = str(user / "data")
    failed = []
    for page in pages():
        sufficient = [
            (block.language, block.text, block.serves)
            for block in blocks(page)
            if block.needs in (NO_EXTRA, extra) and not block.skipped
        ]
        if sufficient:
            folder = shutil.copytree(user, tmp_path / page.stem)
            done = subprocess.run(
                [tmp_path / "environment/bin/python", "-c", RUNNER], input=json.dumps(sufficient),
                cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
            if done.returncode:
                failed.append(f"{page.relative_to(ROOT)}:\n{done.stdout[-4000:]}")
    assert not failed, "\n\n".join(failed)
