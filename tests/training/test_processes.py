"""Trainings in processes of their own: killed ones, several together, and failing ones."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
import yaml
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import load_file

import comdefend
from comdefend.training.recipe import recipe_to_dict
from comdefend.training.run import train

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def process():
    """A function that starts a training in a process of its own, without importing torch anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["comdefend.training.run"])

    def start(*arguments, **environment):
        child = context.Process(target=_train, args=(environment, *arguments), daemon=True)
        child.start()
        return child

    return start


def _train(environment, *arguments):
    os.environ.update(environment)
    train(*arguments)


def wait_for(file, running):
    deadline = time.monotonic() + 240
    while not file.exists():
        assert running(), "ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(process, recipes, tmp_path):
    # Long enough not to end between its first checkpoint and the kill.
    recipe, folder = replace(recipes["purifier"], steps=75), tmp_path / "killed"
    victim = process(recipe, folder, "float32")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    wait_for(checkpoint, victim.is_alive)
    victim.kill()
    victim.join()
    assert torch.load(checkpoint, weights_only=True)["epoch"] < recipe.epochs - 1
    assert not (folder / "purifier.safetensors").exists()
    # The file of this epoch may not be there yet.
    if (so_far := folder / "checkpoints" / "purifier.safetensors").exists():
        assert comdefend.load(so_far).config == recipe.network

    resumed = load_file(train(recipe, folder, "float32"))
    whole = load_file(train(recipe, tmp_path / "whole", "float32"))
    assert all(tensor.equal(whole[name]) for name, tensor in resumed.items())


def test_two_processes_learn_what_one_learns(process, recipes, trained, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    recipe, folder = recipes["purifier"], tmp_path / "run"
    # Lightning starts the others itself, unless they know their rank.
    pair = [
        process(
            recipe, folder, "float32", 2,
            LOCAL_RANK=rank, MASTER_ADDR="127.0.0.1", MASTER_PORT=port, CUDA_VISIBLE_DEVICES="",
        )
        for rank in "01"
    ]  # fmt: skip
    for one in pair:
        one.join(timeout=240)
        assert one.exitcode == 0
    assert comdefend.load_record(folder / "purifier.safetensors")["run"]["processes"] == 2
    alone = load_file(trained("purifier"))
    for name, tensor in load_file(folder / "purifier.safetensors").items():
        # The gradient is summed in another order.
        torch.testing.assert_close(tensor, alone[name], atol=1e-3, rtol=1e-2)


def command(recipe, folder):
    """Return a command that trains by a recipe, in ``folder / "run"``."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_to_dict(recipe)))
    start = [sys.executable, "-m", "comdefend", "train", str(folder / "recipe.yaml")]
    return [*start, "--output", str(folder / "run"), "--precision", "float32"]


@pytest.mark.slow
def test_ctrl_c_is_answered_in_one_line(recipes, tmp_path):
    run = subprocess.Popen(
        command(replace(recipes["purifier"], steps=2000), tmp_path),
        env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", lambda: run.poll() is None)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.strip().splitlines()[-1].endswith("resume when called again")
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
