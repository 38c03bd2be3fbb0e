"""Trainings in processes of their own: killed ones, several together, and failing ones."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import load_file

from comdefend.training.recipe import recipe_to_dict
from comdefend.training.run import train

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def command(recipe, folder, *options):
    """Return a command that trains by a recipe, in ``folder / "run"``."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_to_dict(recipe)))
    start = [sys.executable, "-m", "comdefend", "train", str(folder / "recipe.yaml")]
    return [*start, "--output", str(folder / "run"), "--precision", "float32", *options]


def wait_for(file, process):
    deadline = time.monotonic() + 240
    while not file.exists():
        assert process.poll() is None, "ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(recipes, tmp_path):
    # Long enough not to end between its first checkpoint and the kill.
    recipe = replace(recipes["purifier"], steps=200)
    checkpoint = tmp_path / "killed" / "run" / "checkpoints" / "last.ckpt"
    victim = subprocess.Popen(
        command(recipe, tmp_path / "killed"), env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    wait_for(checkpoint, victim)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    done = torch.load(checkpoint, weights_only=True)["epoch"]
    assert done < recipe.epochs - 1
    assert not (tmp_path / "killed" / "run" / "purifier.safetensors").exists()

    resumed = load_file(train(recipe, tmp_path / "killed" / "run", "float32"))
    whole = load_file(train(recipe, tmp_path / "whole" / "run", "float32"))
    assert all(tensor.equal(whole[name]) for name, tensor in resumed.items())


def test_two_processes_learn_what_one_learns(recipes, trained, tmp_path):
    subprocess.run(
        command(recipes["purifier"], tmp_path, "--devices", "2"),
        env=ENVIRONMENT, check=True, capture_output=True,
    )  # fmt: skip
    one = load_file(trained("purifier"))
    for name, tensor in load_file(tmp_path / "run" / "purifier.safetensors").items():
        # The gradient is summed in another order.
        torch.testing.assert_close(tensor, one[name], atol=1e-3, rtol=1e-2)


@pytest.mark.slow
def test_ctrl_c_is_answered_in_one_line(recipes, tmp_path):
    run = subprocess.Popen(
        command(replace(recipes["purifier"], steps=2000), tmp_path),
        env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", run)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.strip().splitlines()[-1].endswith("go on from here when called again")
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_bad_training_image_is_one_line_with_its_name(recipes, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(4):
        Image.effect_noise((40, 40), 50).save(photos / f"{index}.png")
    (photos / "bad.png").write_bytes((photos / "0.png").read_bytes()[:200])
    recipe = replace(recipes["purifier"], data=f"folder:{photos}", validation=1)
    out = subprocess.run(
        command(recipe, tmp_path / "bad"), env=ENVIRONMENT, capture_output=True, text=True
    )
    assert out.returncode == 1, out.stderr
    assert out.stderr.strip().splitlines()[-1].startswith(f"error: {photos / 'bad.png'}: cannot be")
    assert "Traceback" not in out.stderr
