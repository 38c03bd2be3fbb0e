import os
import subprocess
import sys

import pytest
from PIL import Image
from safetensors.torch import save_file

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


@pytest.fixture
def checkpoint(tmp_path):
    """A small network of timm with two classes, as options name it."""
    import timm

    network = timm.create_model("test_resnet", num_classes=2)
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    return ["timm:test_resnet", "--checkpoint", tmp_path / "net.safetensors"]


@pytest.fixture
def pets(tmp_path):
    """Images of two sizes in folders of two classes, and the names in the classifier's order."""
    for name in ("dog", "cat"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for size in ((48, 40), (52, 60)):
            image = Image.effect_noise(size, 50).convert("RGB")
            image.save(tmp_path / "pets" / name / f"{size[0]}.png")
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    return ["--data", f"folder:{tmp_path / 'pets'}"]


ATTACK = ["--defense", "bits:3", "--attack", "fgsm", "--eps", "8", "--adaptive-steps", "1"]


def test_evaluate_takes_what_the_library_knows_and_says_so(cli, tmp_path, checkpoint, pets):
    command = ["evaluate", *checkpoint, *pets, *ATTACK, "--output", tmp_path / "out"]
    out = cli(*command)
    assert out.code == 0, out.stderr
    # timm's configuration: 160 pixels, 95 % of the shorter side.
    assert "the images are resized to 168 and cropped to 160x160" in out.stderr
    assert "normalised by mean 0.5,0.5,0.5 and std 0.5,0.5,0.5, as timm's" in out.stderr


def test_the_users_own_options_win(cli, tmp_path, checkpoint, pets):
    own = ["--mean", "0,0,0", "--std", "1,1,1", "--crop", "32"]
    out = cli("evaluate", *checkpoint, *pets, *ATTACK, *own, "--output", tmp_path / "out")
    assert out.code == 0, out.stderr
    assert "resized" not in out.stderr
    assert "images are normalised by" not in out.stderr
    left = cli("evaluate", *checkpoint, *pets, *ATTACK, "--resize", "0", "--output", tmp_path / "o")
    assert left.code == 2
    assert "images must have one size here" in left.stderr


def test_export_compares_on_images_that_the_classifier_takes(cli, tmp_path, checkpoint):
    command = ["export", tmp_path / "defended.onnx", "-w", "rgb-3bpp-robust", "--classifier"]
    out = cli(*command, *checkpoint)
    assert out.code == 0, out.stderr
    assert "images -> logits" in out.stdout
    assert "normalised by mean 0.5,0.5,0.5" in out.stderr


def test_train_opens_a_classifier_with_its_checkpoint(cli, tmp_path, checkpoint, pets):
    command = [
        "train", "rgb-3bpp-adversarial", *pets, "--classifier", *checkpoint, "--classes",
        tmp_path / "classes.txt", "--epochs", "1", "--batch", "2", "--validation", "2",
        "--start", "rgb-3bpp-robust", "--output", tmp_path / "run",
    ]  # fmt: skip
    for name in ("dog", "cat"):
        (tmp_path / "pets" / name / "48.png").unlink()
        for copy in range(3):
            Image.effect_noise((52, 60), 50).save(tmp_path / "pets" / name / f"{copy}.png")
    out = cli(*command)
    assert out.code == 0, out.stderr
    assert "normalised by mean 0.5,0.5,0.5" in out.stderr
    following = out.stdout.strip().splitlines()[-1]
    assert following.startswith("comdefend evaluate timm:test_resnet --checkpoint ")
    assert f"--classes {tmp_path / 'classes.txt'} --data DATA --defense " in following


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


def test_the_list_of_attacks_names_their_libraries(cli):
    lines = cli("list", "attacks", COLUMNS="200").stdout.splitlines()
    named = {line.split()[0]: line for line in lines if ": " in line}
    assert named["bim"].rstrip().endswith("(Kurakin et al. 2017); Foolbox")
    assert named["square"].rstrip().endswith("; pyautoattack")
    assert named["art-bim"].rstrip().endswith("; ART")
