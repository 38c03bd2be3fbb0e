import importlib.util
import json
import subprocess
import sys

import pytest
from PIL import Image

from comdefend.common import extras
from comdefend.errors import ExtraMissingError

# Runs commands one after the other as if no extra were installed; prints how each of them ends.
BARE = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
commands, blocked = json.loads(sys.stdin.read())
sys.modules.update(dict.fromkeys(blocked))  # Python takes None for a module that is not there.
from comdefend.cli import main
for arguments in commands:
    sys.argv = ["comdefend", *arguments]
    text = io.StringIO()
    try:
        with redirect_stdout(text), redirect_stderr(text):
            main()
    except SystemExit as ending:
        print(json.dumps([ending.code or 0, text.getvalue()]))
"""

MISSING = {
    ("app",): "app",
    ("demo", "-o", "out"): "demo",
    ("train", "rgb-12bpp", "-o", "out"): "train",
    ("train-classifier", "cifar10-small", "-o", "out"): "train",
    ("evaluate", "cifar10-small", "--data", "folder:.", "-o", "out"): "evaluate",
    (
        "certify",
        "--data",
        "folder:.",
        "--classifier",
        "x",
        "--sigma",
        "0.1",
        "-o",
        "out",
    ): "evaluate",
    ("export", "out/x.xml"): "runtime",
    ("purify", ".", "out", "--engine", "openvino"): "runtime",
    ("bench", "-o", "out"): "evaluate",
    ("compress", "image.png", "x.comd"): "codec",
    ("serve",): "serve",
}


def test_without_extras_images_are_purified_and_the_rest_says_what_to_install(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    blocked = sorted({module for modules in extras.EXTRAS.values() for module in modules})
    commands = [*MISSING, ("purify", "image.png", "clean.png")]
    out = subprocess.run(
        [sys.executable, "-c", BARE], input=json.dumps([commands, blocked]),
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    *refused, purified = map(json.loads, out.stdout.splitlines())
    for (command, extra), (code, text) in zip(MISSING.items(), refused, strict=True):
        assert code == 2, (command, text)
        assert len(text.strip().splitlines()) == 1, text
        assert f"is not installed; run: pip install 'comdefend[{extra}]'" in text, command
    assert not (tmp_path / "out").exists()
    assert purified == [0, "1 purified\n"]
    assert (tmp_path / "clean.png").exists()


def test_every_named_module_exists():
    for modules in extras.EXTRAS.values():
        assert all(importlib.util.find_spec(module) for module in modules)


def test_a_broken_dependency_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        extras.require("broken_package", "demo")
    with pytest.raises(ExtraMissingError, match=r"nowhere is not installed.*comdefend\[demo\]"):
        extras.require("nowhere.at_all", "demo")


def test_all_missing_extras_are_named_at_once(monkeypatch):
    for module in ("altair", "lightning"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExtraMissingError) as caught:
        extras.require_extra("demo", "evaluate", "train")
    assert str(caught.value) == (
        "altair and lightning are not installed; run: pip install 'comdefend[evaluate,train]'"
    )
