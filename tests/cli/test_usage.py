import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import comdefend
from comdefend.cli import app
from tests.servers import free_port

COMMANDS = [command.name for command in app.registered_commands]
EVALUATE = ["evaluate", "fashion-mnist-small", "--data", "folder:.", "--output", "out"]

# Runs the commands one after the other, and says which of them imported torch.
WITHOUT_TORCH = """
import io, sys
from contextlib import redirect_stderr, redirect_stdout
from comdefend.cli import main
for line in sys.stdin.read().splitlines():
    code, _, arguments = line.partition(" ")
    sys.argv = ["comdefend", *arguments.split()]
    text = io.StringIO()
    try:
        with redirect_stdout(text), redirect_stderr(text):
            main()
    except SystemExit as ending:
        assert (ending.code or 0) == int(code), (line, text.getvalue())
    assert "torch" not in sys.modules, line
"""


def test_the_help_names_every_command(cli):
    out = cli("--help")
    assert out.code == 0
    assert all(f" {command} " in out.stdout for command in COMMANDS)
    assert cli("-h").stdout == out.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(cli, command):
    out = cli(command, "-h")
    assert out.code == 0
    assert "Example" in out.stdout
    assert f"comdefend {command}" in out.stdout
    assert cli(command, "--help").stdout == out.stdout


def test_help_and_wrong_usage_need_no_torch(tmp_path):
    (tmp_path / "file").touch()
    lines = [
        "0 --help",
        "0 --version",
        *(f"0 {command} --help" for command in COMMANDS),
        "2 defend",
        "2 purify --sharpen",
        "2 purify only-one",
        "2 app --port 70000",
        "2 bench",
        "2 bench -o out --rounds many",
        "2 bench -o out --rounds 0",
        "2 bench -o out --threads 0",
        "2 bench -o out --shape 32x32",
        "2 bench -o file",
        "2 certify --data cifar10 --classifier cifar10-small -o out",
        "2 certify --data cifar10 --classifier cifar10-small -o out --sigma 0",
        "2 certify --data cifar10 --classifier cifar10-small -o out --sigma 0.25 --n 7",
    ]
    out = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input="\n".join(lines),
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr


def test_importing_the_package_needs_no_torch():
    code = "import sys, comdefend; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_module_runs_and_ends_with_its_exit_code(tmp_path):
    run = [sys.executable, "-m", "comdefend"]
    version = subprocess.run([*run, "--version"], capture_output=True, text=True)
    assert version.returncode == 0
    assert version.stdout.strip() == f"comdefend {comdefend.__version__}"
    wrong = subprocess.run([*run, "bench", "-o", "x", "--rounds", "0"], capture_output=True)
    assert wrong.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["purify", "nowhere", "out"], "nowhere: no such file or folder"),
        (["purify", "xyz://photos", "out"], "xyz://photos: Protocol not known: xyz"),
        (["purify", ".", "https://example.invalid/out/"], "web addresses can only be read"),
        (["purify", "memory://none", "out"], "memory://none: no such file or folder"),
        (["purify", ".", "out", "--ray", "head"], "a Ray cluster is HOST:PORT, ray://HOST:PORT"),
        (["purify", ".", "out", "--weights", "rgb"], "unknown weights 'rgb'; known: gray-2bpp"),
        (["purify", ".", "out", "--device", "tpu"], "unknown device 'tpu'"),
        (["purify", ".", "out", "--engine", "tpu"], "unknown engine 'tpu'; known: auto, torch"),
        (
            ["purify", ".", "out", "--engine", "onnxruntime", "--precision", "bfloat16"],
            "precision of onnxruntime: auto, float32, not 'bfloat16'",
        ),
        (["export", "out.tflite"], "out.tflite: must end in .onnx, .xml, .pt2"),
        (["export", "out.pt2", "--part", "half"], "part must be one of purifier, encoder"),
        (["export", "out.pt2", "--checkpoint", "net.pt"], "describe a --classifier"),
        (["export", "out.pt2", "--classifier", "timm:resnet18"], "resnet18 needs a checkpoint"),
        (["train", "rgb-12bpp", "-o", "run", "--std", "1,1,1"], "describe a --classifier"),
        (["train", "rgb", "-o", "run"], "unknown recipe 'rgb'"),
        (["train", "cifar10-hgd", "-o", "run", "--start", "rgb-12bpp"], "start"),
        (["train", "cifar10-hgd", "-o", "run", "--devices", "2"], "not 2"),
        (["train", "rgb-12bpp", "-o", "run", "--trained", "both"], "trained"),
        (["train", "cifar10-robust", "-o", "run", "--trained", "half"], "trained"),
        (["train", "rgb-12bpp", "-o", "run"], "set COMDEFEND_DATA to the folder"),
        (["train", "rgb-12bpp", "-o", "run", "--steps", "0"], "steps must be a positive number"),
        (["train", "rgb-12bpp", "-o", "run", "--data", "folder:no"], "no: no such folder"),
        (
            ["train-classifier", "cifar10-small", "-o", "run", "--purified", "nothere"],
            "unknown weights 'nothere'",
        ),
        ([*EVALUATE, "--attack", "magic"], "unknown attack 'magic'; known: fgsm"),
        ([*EVALUATE, "--attack", "bim:x"], "attack 'bim:x': steps must be a number, as in bim:10"),
        ([*EVALUATE, "--eps", "0.5"], "eps must be whole numbers of 1/255"),
        ([*EVALUATE, "--eps", "nan"], "eps"),
        ([*EVALUATE, "--eps", "inf"], "eps"),
        ([*EVALUATE, "--mean", "a"], "mean: must be numbers separated by commas"),
        ([*EVALUATE, "--data", "folder:no"], "no: no such folder"),
        # Not an emoji.
        ([*EVALUATE, "--data", "folder:no:x:"], "error: no:x:: no such folder"),
        (["bench", "-o", "out", "-w", "rgb"], "unknown weights 'rgb'; known: gray-2bpp"),
        (["bench", "-o", "image.png"], "image.png: a file; the output is a folder"),
        (["bench", "-o", "out", "--rounds", "0"], "rounds must be at least 1, not 0"),
        (["bench", "-o", "out", "--threads", "0"], "threads must be at least 1, not 0"),
        (["bench", "-o", "out", "--shape", "32x32"], "shape must be NxHxW, as 64x32x32"),
        (["recipe", "magic"], "unknown recipe 'magic'; shipped: cifar10-adversarial, "),
        (["reproduce", "magic"], "unknown experiment 'magic'"),
        (["reproduce", "cifar10", "--profile", "huge"], "no profile 'huge'; it has: small, gpu"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("image.png")
    out = cli(*arguments, COMDEFEND_DATA="")
    assert out.code == 2, out.stderr
    (line,) = out.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--output", "file/out"],
        ["purify", "image.png", "file/out/clean.png"],
        ["train", "rgb-12bpp", "--data", "parquet:data", "--output", "file/out"],
    ],
)
def test_an_unwritable_output_is_a_failed_job(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    Image.new("RGB", (16, 16)).save("image.png")
    cells = [{"bytes": (tmp_path / "image.png").read_bytes(), "path": None}] * 130
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"image": cells, "label": [0] * 130}), "data/train.parquet")
    out = cli(*arguments)
    assert out.code == 1
    (line,) = out.stderr.strip().splitlines()
    assert line.startswith("error: file/out: cannot be made")


def test_purify_names_every_engine(cli):
    from comdefend.engines import ENGINES

    # Narrow columns break a name at its hyphen.
    text = re.sub(r"[\s│]+", "", cli("purify", "--help").stdout)
    assert all(name in text for name in ENGINES)


def test_a_cluster_that_does_not_answer_ends_an_evaluation_before_it_begins(cli, tmp_path):
    command = ["evaluate", "cifar10-small", "--data", "cifar10", "-o", tmp_path / "out", "--ray"]
    address = f"127.0.0.1:{free_port()}"
    ended = cli(*command, address)
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error: Ray at {address}: no cluster answers")
    assert cli(*command, "head").code == 2
    assert cli(*command, address, "--device", "cuda").code == 2
    assert not (tmp_path / "out").exists()
