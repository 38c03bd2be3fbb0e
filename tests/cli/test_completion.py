import json
import os
import subprocess
import sys

import pytest

from comdefend import zoo
from comdefend.attacks import ATTACKS
from comdefend.cli.completion import names_of
from comdefend.data.places import DATASETS
from comdefend.evaluation.shipped import experiments
from comdefend.training.recipe import recipes

# Completes several lines as bash asks for it, and says what came and whether torch was imported.
AS_BASH = """
import io, json, os, sys
from contextlib import redirect_stdout
from comdefend.cli import main
sys.argv = ["comdefend"]
for line in json.loads(sys.stdin.read()):
    os.environ.update(COMP_WORDS=line, COMP_CWORD=str(len(line.split()) - 1))
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            main()
    except SystemExit as ending:
        assert not ending.code, line
    print(json.dumps(text.getvalue().split()))
assert "torch" not in sys.modules
"""

COMPLETED = {
    "comdefend purify in out --weights rgb-variable@": [
        f"rgb-variable@{bpp}" for bpp in ("0.5", "1", "2", "3", "6", "12")
    ],
    "comdefend export out.onnx -w gray-4": ["gray-4bpp"],
    "comdefend evaluate fashion-mnist-s": ["fashion-mnist-small"],
    "comdefend evaluate x --data cifar": ["cifar10", "cifar100"],
    "comdefend evaluate x --data parq": ["parquet:"],
    "comdefend evaluate x --defense none --defense jp": ["jpeg:"],
    "comdefend evaluate x --attack autoa": ["autoattack"],
    "comdefend certify --data cifar": ["cifar10", "cifar100"],
    "comdefend certify --defense gray-4": ["gray-4bpp"],
    "comdefend train rgb-12bpp-lite-": ["rgb-12bpp-lite-start"],
    "comdefend train x --classifier timm": ["timm:"],
    "comdefend recipe cifar10-h": ["cifar10-hgd"],
    "comdefend reproduce randomn": ["randomness"],
}


def test_names_complete_in_the_shell_without_torch():
    out = subprocess.run(
        [sys.executable, "-c", AS_BASH], input=json.dumps(list(COMPLETED)),
        env={**os.environ, "_COMDEFEND_COMPLETE": "complete_bash"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    found = map(json.loads, out.stdout.splitlines())
    assert dict(zip(COMPLETED, found, strict=True)) == COMPLETED


@pytest.mark.parametrize(
    ("what", "known"),
    [
        ("attacks", ATTACKS),
        ("classifiers", zoo.classifier_weights()),
        ("data", DATASETS),
        ("defenses", ["none", "jpeg:", "resize-pad", "rgb-variable@2"]),
        ("experiments", experiments()),
        ("recipes", recipes()),
        ("weights", zoo.weights()),
    ],
)
def test_everything_with_a_name_completes(what, known):
    assert set(known) <= set(names_of(what))
