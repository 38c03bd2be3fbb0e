"""Every documented install, in an environment of its own, does what the documents say it does."""

import json
import shutil
import subprocess

import pytest

from tests.installs.environments import install
from tests.installs.stand_ins import NAMES, write_stand_ins
from tools.docs.blocks import NO_EXTRA, blocks, extras, pages
from tools.docs.records import ROOT

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
def user(tmp_path_factory):
    """A folder with what the documents take for granted."""
    folder = tmp_path_factory.mktemp("user")
    write_stand_ins(folder)
    return folder


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
