import json
import subprocess
import sys
import time

import pytest
from PIL import Image

from comdefend.data.shipped import fashion_images


@pytest.fixture
def command(tmp_path):
    """The command on three shipped images, with a shipped purifier and classifier."""
    images, labels = fashion_images()
    for label in (1, 5, 8):
        folder = tmp_path / "images" / "test" / str(label)
        folder.mkdir(parents=True)
        Image.fromarray(images[labels == label][0, 0].numpy()).save(folder / "0.png")
    return [
        "certify", "--data", f"folder:{tmp_path / 'images'}", "--classifier",
        "fashion-mnist-small", "--defense", "gray-2bpp-robust", "--sigma", "0.12", "--n", "100",
        "--images", "3", "--attacked", "1", "--output", tmp_path / "out",
    ]  # fmt: skip


def test_certify_proves_and_resumes(cli, tmp_path, command):
    first = cli(*command, COLUMNS="160")
    assert first.code == 0, first.stderr
    assert "Proven, for each image with probability 99.9 %" in " ".join(first.stdout.split())
    assert first.stdout.strip().endswith("report.html")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"images", "record.json", "table.md", "certified.svg", "report.html"}
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert [image["label"] for image in record["images"]].count(8) == 1
    assert all(image["draws"] == 100 for image in record["images"])
    # At this sigma the purifier leaves these three as they are.
    assert all(image["answer"] == image["label"] for image in record["images"])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "images").iterdir()}
    assert len(before) == 4
    again = cli(*command)
    assert again.code == 0
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "images").iterdir()}
    assert json.loads((tmp_path / "out" / "record.json").read_text()) == record


def timeless(folder):
    record = json.loads((folder / "record.json").read_text())
    for part in (record, *record["images"]):
        del part["seconds"]
    return record


def test_a_process_that_was_killed_goes_on_where_it_was(cli, tmp_path, command):
    # As many draws as give time to kill it between two images.
    command = [*command, "--n", "1000", "--defense", "bits:3", "--attacked", "0", "--output"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "comdefend", *map(str, command), str(killed)],
        stderr=subprocess.DEVNULL,
    )
    while not list(killed.glob("images/*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() != 0
    done = {path: path.stat().st_mtime_ns for path in killed.glob("images/*.json")}
    assert cli(*command, killed).code == cli(*command, whole).code == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert timeless(killed) == timeless(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--sigma", "0"], "sigma is for images in [0, 1], above 0 and at most 1, not 0"),
        (["--sigma", "nan"], "sigma"),
        (["--n", "7"], "n must be from 100 to 10,000,000 draws, not 7"),
        (["--images", "-1"], "images must not be negative"),
        (["--mean", "a"], "mean: must be numbers separated by commas"),
        (["--mean", "0.5"], "mean and std: give both or neither"),
        (["--defense", "noise:0.05"], "noise:0.05: the defence draws at random"),
        (["--precision", "float16"], "precision of openvino"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--data", "folder:no"], "no: no such folder"),
        (["--classifier", "magic"], "unknown classifier 'magic'"),
    ],
)
def test_wrong_usage_is_one_line(cli, tmp_path, command, change, message):
    out = cli(*command, *change)
    assert out.code == 2, out.stderr
    # Before it may stand what is said of the data.
    *_, line = out.stderr.strip().splitlines()
    assert out.stderr.count("error: ") == 1
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()
