import os
import subprocess
import sys

from PIL import Image

from comdefend.data.shipped import fashion_images


def test_purify_reports_and_skips(cli, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.effect_noise((8, 8), 50).convert("RGB").save(folder / "good.png")
    (folder / "bad.jpg").write_bytes(b"nonsense")
    Image.new("1", (20_000, 10_000)).save(folder / "bomb.png")
    first = cli("purify", folder, tmp_path / "out")
    assert first.code == 1
    assert first.stdout.strip() == "1 purified, 2 failed"
    bad, bomb = first.stderr.strip().splitlines()
    assert bad.startswith(f"failed: {folder / 'bad.jpg'}: is not an image")
    assert bomb.startswith(f"failed: {folder / 'bomb.png'}: has more than 179 megapixels")
    assert "--max-megapixels" in bomb
    (folder / "bad.jpg").unlink()
    (folder / "bomb.png").unlink()
    (folder / "notes.txt").touch()
    second = cli("purify", folder, tmp_path / "out")
    assert second.code == 0
    assert second.stdout.strip() == "0 purified, 1 already there (--overwrite redoes them)"
    lossy = cli("purify", folder, tmp_path / "lossy", "--format", "jpeg")
    assert lossy.code == 0
    assert lossy.stderr.count("lossy") == 1
    assert f"note: passed over: 1 .txt ({folder / 'notes.txt'})" in lossy.stderr


def test_evaluate_measures_and_resumes(cli, tmp_path):
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
    first = cli(*arguments, COLUMNS="160")
    assert first.code == 0, first.stderr
    assert "bits:3" in first.stdout
    assert "oblivious / adaptive" in first.stdout
    assert first.stdout.strip().endswith("report.html")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"record.json", "table.md", "report.html"} < files
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "cells").iterdir()}
    assert cli(*arguments).code == 0
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "cells").iterdir()}


def test_reproduce_lists_the_experiments(cli):
    out = cli("reproduce")
    assert out.code == 0
    assert "cifar10 --profile small: CIFAR-10" in out.stdout


def test_a_character_that_the_terminal_lacks_costs_nothing(tmp_path):
    (tmp_path / "\u221e.png").write_bytes(b"no image")
    done = subprocess.run(
        [sys.executable, "-m", "comdefend", "purify", "\u221e.png", "clean.png"],
        cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"failed: ?.png: " in done.stderr
    assert b"Traceback" not in done.stderr
