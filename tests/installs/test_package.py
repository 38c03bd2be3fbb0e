"""The wheel alone: what it holds, and what each command does without any extra."""

import re
import shutil
import subprocess
import tarfile
import zipfile

import pytest
from PIL import Image

from comdefend.cli import app
from comdefend.common.extras import EXTRAS
from tests.installs.environments import install, interpreter
from tools.docs.blocks import NO_EXTRA
from tools.docs.records import ROOT
from tools.package import check

# A command -> how it is called, and the extras that it then asks for.
COMMANDS = {
    "demo": ("-o out", "demo"),
    "purify": ("image.png clean.png", None),
    "compress": ("image.png image.comd", "codec"),
    "decompress": ("photo.comd rebuilt.png", "codec"),
    "info": ("photo.comd", None),
    "evaluate": ("cifar10-small --data folder:. -o out", "evaluate"),
    "certify": ("--data folder:. --classifier cifar10-small --sigma 0.1 -o out", "evaluate"),
    "train": ("photo --data folder:. -o out", "train"),
    "train-classifier": ("cifar10-small -o out", "train"),
    "recipe": ("photo", None),
    "export": ("purifier.onnx", "runtime"),
    "reproduce": ("noise -o out", "evaluate,train"),
    "bench": ("-o out", "evaluate"),
    "app": ("--port 0", "app"),
    "serve": ("--port 0", "serve"),
    "list": ("", None),
}  # fmt: skip
NEEDED = (".py", ".typed", ".safetensors", ".json", ".yaml", ".md", ".html", ".css", ".js")


def test_each_command_has_a_call_here():
    assert set(COMMANDS) == {command.name for command in app.registered_commands}
    named = {name for _, extra in COMMANDS.values() if extra for name in extra.split(",")}
    assert named <= set(EXTRAS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_files_pass_the_checks_and_hold_what_users_need_and_no_more(built):
    check(*built)
    source, wheel = built
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    for name in names:
        top, _, rest = name.partition("/")
        assert top == "comdefend" or re.fullmatch(r"comdefend-[\d.]+\.dist-info", top), name
        assert top != "comdefend" or rest.endswith(NEEDED), name
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for name in ("app/static/page.js", "zoo/shipped/photo.safetensors", "py.typed"):
        assert f"comdefend/{name}" in names
    with tarfile.open(source) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    # Whoever takes the source can run the tests and read the documents.
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/conftest.py", "docs/results.md",
            "requirements/dev.txt", "Makefile"} <= inside  # fmt: skip
    assert not any(name.startswith((".venv", "dist", "runs", "demo/")) for name in inside)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_without_extras_every_command_works_or_names_its_extra(wheel, tmp_path, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not on this machine")
    environment = install(wheel, NO_EXTRA, tmp_path / "environment", python)
    Image.effect_noise((40, 30), 50).convert("RGB").save(tmp_path / "image.png")
    shutil.copy(ROOT / "tests/codec/vectors/photo.comd", tmp_path / "photo.comd")
    before = sorted(tmp_path.iterdir())
    for command, (arguments, extra) in COMMANDS.items():
        done = subprocess.run(
            [tmp_path / "environment/bin/comdefend", command, *arguments.split()],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        said = f"comdefend {command}: {done.stdout[-500:]}{done.stderr[-2000:]}"
        if extra is None:
            assert done.returncode == 0, said
            continue
        assert done.returncode == 2, said
        # `reproduce` says first what it would do.
        *others, error = done.stderr.strip().splitlines()
        assert error.endswith(f"not installed; run: pip install 'comdefend[{extra}]'"), said
        assert command == "reproduce" or not others, said
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "clean.png"])
