import os
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import comdefend
from comdefend.data.shipped import fashion_images
from comdefend.engines import ENGINES

EVALUATE = ["evaluate", "fashion-mnist-small", "--data", "folder:.", "--output", "out"]


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "comdefend", *map(str, arguments)],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "COLUMNS": "100", **environment},
    )  # fmt: skip


def test_help_names_every_command_with_an_example():
    out = run("--help")
    assert out.returncode == 0
    for command in (
        "demo",
        "purify",
        "export",
        "train",
        "train-classifier",
        "evaluate",
        "reproduce",
        "bench",
    ):
        assert command in out.stdout
        text = run(command, "--help").stdout
        assert f"comdefend {command} " in text
        assert "Example" in text


def test_purify_names_every_engine():
    # Narrow columns break a name at its hyphen.
    text = re.sub(r"[\s│]+", "", run("purify", "--help").stdout)
    assert all(name in text for name in ENGINES)


def test_version_and_quick_import():
    assert run("--version").stdout.strip() == f"comdefend {comdefend.__version__}"
    code = "import sys, comdefend; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = "import sys, comdefend.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_purify_reports_and_skips(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.effect_noise((8, 8), 50).convert("RGB").save(folder / "good.png")
    (folder / "bad.jpg").write_bytes(b"nonsense")
    Image.new("1", (20_000, 10_000)).save(folder / "bomb.png")
    first = run("purify", folder, tmp_path / "out")
    assert first.returncode == 1
    assert first.stdout.strip() == "1 purified, 2 failed"
    bad, bomb = first.stderr.strip().splitlines()
    assert bad.startswith(f"failed: {folder / 'bad.jpg'}: is not an image")
    assert bomb == (
        f"failed: {folder / 'bomb.png'}: has too many pixels, and may be a decompression bomb"
    )
    (folder / "bad.jpg").unlink()
    (folder / "bomb.png").unlink()
    second = run("purify", folder, tmp_path / "out")
    assert second.returncode == 0
    assert second.stdout.strip() == "0 purified, 1 already there (--overwrite redoes them)"
    lossy = run("purify", folder, tmp_path / "lossy", "--format", "jpeg")
    assert lossy.returncode == 0
    assert lossy.stderr.count("lossy") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["purify", "nowhere", "out"], "nowhere: no such file or folder"),
        (
            ["purify", ".", "out", "--weights", "rgb"],
            "unknown weights 'rgb'; known: gray-2bpp",
        ),
        (["purify", ".", "out", "--device", "tpu"], "unknown device 'tpu'"),
        (["purify", ".", "out", "--engine", "tpu"], "unknown engine 'tpu'; known: auto, torch"),
        (
            ["purify", ".", "out", "--engine", "onnxruntime", "--precision", "bfloat16"],
            "precision of onnxruntime: auto, float32, not 'bfloat16'",
        ),
        (["export", "out.tflite"], "out.tflite: must end in .onnx, .xml, .pt2"),
        (["export", "out.pt2", "--part", "half"], "part must be one of purifier, encoder"),
        (["train", "rgb", "-o", "run"], "unknown recipe 'rgb'; shipped: cifar10-adversarial, "),
        (["train", "cifar10-small", "-o", "run"], "unknown recipe 'cifar10-small'"),
        (["train", "cifar10-hgd", "-o", "run", "--start", "rgb-12bpp"], "has no start"),
        (["train", "cifar10-hgd", "-o", "run", "--devices", "2"], "by one process, not 2"),
        (["train", "rgb-12bpp", "-o", "run", "--trained", "both"], "has no trained"),
        (
            ["train", "cifar10-robust", "-o", "run", "--trained", "classifier"],
            "trained must be both or purifier, not 'classifier'",
        ),
        (
            [
                "train",
                "cifar10-robust",
                "-o",
                "run",
                "--classifier",
                "no.one:net",
                "--trained",
                "purifier",
            ],
            "no.one",
        ),
        (["train", "rgb-12bpp", "-o", "run"], "set COMDEFEND_DATA to the folder"),
        (["train", "rgb-12bpp", "-o", "run", "--steps", "0"], "steps must be a positive number"),
        (["train", "rgb-12bpp", "-o", "run", "--data", "folder:no"], "no: no such folder"),
        (
            ["train-classifier", "cifar10-small", "-o", "run", "--purified", "nothere"],
            "unknown weights 'nothere'",
        ),
        (["train-classifier", "rgb-12bpp", "-o", "run"], "unknown recipe 'rgb-12bpp'"),
        ([*EVALUATE, "--attack", "magic"], "unknown attack 'magic'; known: fgsm"),
        ([*EVALUATE, "--attack", "bim:x"], "steps must be a number, as in bim:10"),
        ([*EVALUATE, "--eps", "0.5"], "eps must be whole numbers of 1/255"),
        ([*EVALUATE, "--eps", "nan"], "eps must be whole numbers of 1/255, not nan"),
        ([*EVALUATE, "--eps", "inf"], "eps must be whole numbers of 1/255, not inf"),
        ([*EVALUATE, "--mean", "a"], "mean: numbers divided by commas"),
        ([*EVALUATE, "--data", "folder:no"], "no: no such folder"),
        (["bench", "-o", "out", "-w", "rgb"], "unknown weights 'rgb'; known: gray-2bpp"),
        (["bench", "-o", "image.png"], "image.png: a file; the output is a folder"),
        (["bench", "-o", "out", "--rounds", "0"], "rounds must be at least 1, not 0"),
        (["bench", "-o", "out", "--threads", "0"], "threads must be at least 1, not 0"),
        (["bench", "-o", "out", "--shape", "32x32"], "shape must be NxHxW, as 64x32x32"),
        (["reproduce", "magic"], "unknown experiment 'magic'; shipped: cifar10"),
        (["reproduce", "cifar10", "--profile", "huge"], "no profile 'huge'; it has: small, full"),
    ],
)
def test_bad_use_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("image.png")
    environment = {"COMDEFEND_DATA": ""}
    out = run(*arguments, **environment)
    assert out.returncode == 2, out.stderr
    lines = out.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


def test_evaluate_measures_warns_and_goes_on(tmp_path):
    images, labels = fashion_images()
    for label in range(10):
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True)
        Image.fromarray(images[labels == label][0, 0].numpy()).save(folder / "0.png")
    arguments = [
        "evaluate", "fashion-mnist-small", "--data", f"folder:{tmp_path / 'images'}",
        "--defense", "bits:3", "--attack", "fgsm", "--eps", "8", "--images", "10",
        "--adaptive-steps", "3", "--output", tmp_path / "out",
    ]  # fmt: skip
    first = run(*arguments, COLUMNS="160")
    assert first.returncode == 0, first.stderr
    assert "bits:3" in first.stdout
    assert "oblivious / adaptive" in first.stdout
    assert first.stdout.strip().endswith("report.html")
    assert {"record.json", "table.md", "report.html"} < {
        p.name for p in (tmp_path / "out").iterdir()
    }
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "cells").iterdir()}
    assert run(*arguments).returncode == 0
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "cells").iterdir()}


def test_every_chosen_attack_is_made_adaptively(tmp_path, monkeypatch):
    from comdefend.cli import evaluate

    planned = []
    monkeypatch.setattr(evaluate, "run_and_show", lambda plan, *rest: planned.append(plan))
    chosen = ["fgsm", "pgd:40", "cw:3", "deepfool", "autoattack", "square"]
    evaluate.evaluate("fashion-mnist-small", "mnist", tmp_path, attack=chosen, eps=[8])
    (plan,) = planned
    found = [(made.attack, made.eps, made.steps) for made in plan.adaptive]
    assert found == [
        ("pgd", (8,), 20), ("cw", (), 3), ("deepfool", (), None), ("autoattack", (8,), None)
    ]  # fmt: skip


def test_reproduce_lists_what_there_is():
    out = run("reproduce")
    assert out.returncode == 0
    assert "cifar10 --profile small: CIFAR-10" in out.stdout


def test_unknown_options_are_bad_use():
    assert run("purify", "--sharpen").returncode == 2
    assert run("purify", "only-one").returncode == 2
    assert run("defend").returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--output", "file/out"],
        ["purify", "image.png", "file/out/clean.png"],
        ["train", "rgb-12bpp", "--data", "parquet:data", "--output", "file/out"],
    ],
)
def test_unwritable_output_is_a_failed_job(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    image = Image.new("RGB", (16, 16))
    image.save("image.png")
    cells = [{"bytes": (tmp_path / "image.png").read_bytes(), "path": None}] * 130
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"image": cells, "label": [0] * 130}), "data/train.parquet")
    out = run(*arguments)
    assert out.returncode == 1
    assert out.stderr.startswith("error: file/out: cannot be made")
    assert len(out.stderr.strip().splitlines()) == 1
