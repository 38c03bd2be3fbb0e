"""Every example, on a few images."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

# What makes each short, and something that it prints.
RUNS = {
    "art_toolbox": ("--images 4", "adaptive PGD within 8/255: "),
    "autoattack_standard": ("--images 4 --steps 5", "adaptive APGD within 8/255: "),
    "certificate": ("--images 2 --draws 100", "0.12"),
    "foolbox_attack": ("--images 4", "adaptive PGD within 4/255: "),
    "hugging_face": ("--images 4 --output hub", "hub: 2 bits per pixel"),
    "numpy_arrays": ("--images 1", "(1, 96, 128, 3) uint8: changed by "),
    "onnx_runtime": ("--images 1", "purifier.onnx: within 0.0"),
    "own_classifier": ("--images 4", "gray-2bpp-adversarial"),
    "own_defense_and_attack": ("--images 4", "momentum"),
    "service_client": ("", "gradient: 96x64 back as PNG"),
    "ray_data": ("--images 3 --cores 1 --output clean", "3 purified"),
    "timm_model": ("--images 1", "(1, 3, 224, 224): purifying moves "),
    "torchattacks_attack": ("--images 4", "adaptive PGD within 8/255: "),
    "torchvision_transform": ("--images 2 --workers 1", "purified and normalised: (2, 3, 96, 96)"),
}


def test_there_is_a_run_of_each_example():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    if name == "torchattacks_attack" and importlib.util.find_spec("torchattacks") is None:
        pytest.skip("torchattacks is not installed: it wants a version of requests of 2020")
    arguments, printed = RUNS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments.split()])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert printed in capsys.readouterr().out
