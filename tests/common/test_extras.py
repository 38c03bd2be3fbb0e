import importlib.util
import subprocess
import sys

import pytest
from PIL import Image

from comdefend.common import extras
from comdefend.errors import ExtraMissingError

WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocked())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in {blocked!r} else find(name, *a)
sys.argv = ["comdefend", *{arguments!r}]
from comdefend.cli import main
main()
"""


@pytest.mark.parametrize(
    ("blocked", "arguments", "message"),
    [
        ("matplotlib", ["demo", "-o", "out"], "matplotlib is not installed; run: pip install"),
        ("foolbox", ["demo", "-o", "out"], "'comdefend[demo]'"),
        ("lightning", ["train", "rgb-12bpp", "-o", "out"], "'comdefend[train]'"),
        ("openvino", ["export", "out/x.xml"], "'comdefend[runtime]'"),
        ("openvino", ["purify", ".", "out", "--engine", "openvino"], "openvino is not installed"),
        ("torchmetrics", ["train-classifier", "cifar10-small", "-o", "out"], "torchmetrics is not"),
    ],
)
def test_a_missing_extra_is_one_line(tmp_path, blocked, arguments, message):
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    script = WITHOUT.format(blocked=[blocked], arguments=arguments)
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert out.returncode == 2, out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert message in out.stderr
    assert not (tmp_path / "out").exists()


def test_every_named_module_exists():
    for name in ("demo", "runtime", "train"):
        extras.require_extra(name)
        for module in extras._EXTRAS[name]:
            assert importlib.util.find_spec(module)


def test_a_broken_dependency_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        extras.require("broken_package", "demo")
    with pytest.raises(ExtraMissingError, match=r"nowhere is not installed.*comdefend\[demo\]"):
        extras.require("nowhere.at_all", "demo")
