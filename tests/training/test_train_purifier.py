import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

import comdefend
from comdefend.data.shipped import fashion_images
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.training.measure import measure_fidelity, measure_same_bits
from comdefend.training.purifier import train_purifier
from comdefend.training.recipe import PurifierRecipe, load_recipe
from comdefend.weights import zoo

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def command(recipe, output, *options):
    train = [sys.executable, "-m", "comdefend", "train", str(recipe), "--output", str(output)]
    return [*train, "--precision", "32", *options]


def state(path):
    return comdefend.load(str(path)).state_dict()


def wait_for(file, process):
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None, "ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_student_learns_its_teachers_code(parquet, tmp_path):
    torch.manual_seed(0)
    network = PurifierConfig(
        channels=1, encoder_widths=(16,), decoder_widths=(16,), code_maps=4, reduction=2, phi=1.0
    )
    recipe = PurifierRecipe(
        f"parquet:{parquet}", network, steps=200, epoch_steps=100, teacher="gray-4bpp", batch=4,
        learning_rate=0.02, validation=16, crop=28,
    )  # fmt: skip
    weights = train_purifier(recipe, tmp_path / "run", "32")
    found = zoo.load_record(weights)
    # Half of them would be by chance.
    assert found["same_bits"] > 0.7
    assert found["fidelity"]["psnr"] > 15
    student, teacher = comdefend.load(weights), comdefend.load("gray-4bpp")
    pixels = fashion_images()[0]
    assert found["same_bits"] == pytest.approx(measure_same_bits(student, teacher, pixels[150:200]))
    images = pixels[150:200].float() / 255
    with torch.no_grad():
        # The decoder serves the teacher's encoder too, at least as well as its own.
        error = (student.decode(teacher.encode(images)) - images).square().mean()
        assert error < 1.1 * (student(images) - images).square().mean()
    assert "bits that are those of `gray-4bpp`" in weights.with_suffix(".md").read_text()


def test_teachers_that_do_not_fit_are_refused(parquet, tmp_path):
    network = PurifierConfig(channels=1, code_maps=4, reduction=2)
    recipe = PurifierRecipe(f"parquet:{parquet}", network, steps=250, teacher="gray-4bpp")
    other = dataclasses.replace(network, code_maps=8)
    with pytest.raises(InputError, match=r"gray-4bpp has 4 maps .* the recipe's network has 8"):
        train_purifier(dataclasses.replace(recipe, network=other), tmp_path / "a")
    with pytest.raises(InputError, match="crop: must be a multiple of 2"):
        train_purifier(dataclasses.replace(recipe, crop=15), tmp_path / "a")
    with pytest.raises(InputError, match="rates must be empty"):
        dataclasses.replace(recipe, network=dataclasses.replace(network, rates=(2,)))
    assert not (tmp_path / "a").exists()


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(recipe_file, tmp_path):
    whole = subprocess.Popen(command(recipe_file, tmp_path / "whole"), env=ENVIRONMENT)

    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    victim = subprocess.Popen(command(recipe_file, tmp_path / "killed"), env=ENVIRONMENT)
    wait_for(checkpoint, victim)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "killed" / "purifier.safetensors").exists()
    done = torch.load(checkpoint, weights_only=True)["epoch"]
    assert done < 29

    subprocess.run(command(recipe_file, tmp_path / "killed"), env=ENVIRONMENT, check=True)
    logs = (tmp_path / "killed" / "logs" / "csv").glob("version_*/metrics.csv")
    assert len(list(logs)) == 2, "the log of the killed part is gone"
    assert whole.wait() == 0
    expected = state(tmp_path / "whole" / "purifier.safetensors")
    for name, tensor in state(tmp_path / "killed" / "purifier.safetensors").items():
        assert tensor.equal(expected[name]), name

    run = tmp_path / "whole"
    assert len(list((run / "panels").glob("*.png"))) == 30
    with Image.open(run / "panels" / "epoch-0030.png") as panel:
        assert panel.width > panel.height
    assert (run / "logs" / "csv" / "version_0" / "metrics.csv").read_text().count("\n") > 30
    assert list((run / "logs" / "tensorboard").glob("events.*"))
    record = comdefend.load_record(str(run / "purifier.safetensors"))
    assert record["measured_on"] == "test"
    assert record["fidelity"]["images"] == 50
    assert f"{record['fidelity']['psnr']:.2f} dB" in (run / "purifier.md").read_text()


@pytest.mark.slow
def test_ctrl_c_is_answered_in_one_line(recipe_file, tmp_path):
    run = subprocess.Popen(
        command(recipe_file, tmp_path / "run"), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", run)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.strip().endswith("go on from here when called again")
    assert "Traceback" not in errors


def test_two_processes_learn_what_one_learns(recipe_file, tmp_path):
    recipe = load_recipe(str(recipe_file), PurifierRecipe, steps=20)
    one = train_purifier(recipe, tmp_path / "one", precision="32")
    subprocess.run(
        command(recipe_file, tmp_path / "two", "--steps", "20", "--devices", "2"),
        env=ENVIRONMENT, check=True,
    )  # fmt: skip
    expected = state(one)
    for name, tensor in state(tmp_path / "two" / "purifier.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-3, rtol=1e-2)


def test_training_reduces_the_error_and_depends_on_the_seed(recipe_file, tmp_path):
    def trained(name, **changes):
        recipe = load_recipe(str(recipe_file), PurifierRecipe, **changes)
        return train_purifier(recipe, tmp_path / name, precision="32")

    short = comdefend.load_record(str(trained("short", steps=10)))["fidelity"]
    path = trained("long", steps=300)
    long = comdefend.load_record(str(path))["fidelity"]
    assert long["psnr"] > short["psnr"] + 3
    assert long["pooled_psnr"] <= long["psnr"]
    other = state(trained("other", steps=10, seed=1))
    same = state(trained("same", steps=10))
    again = state(tmp_path / "short" / "purifier.safetensors")
    assert all(t.equal(again[n]) for n, t in same.items())
    assert not all(t.equal(again[n]) for n, t in other.items())


def test_with_rates_the_first_maps_learn_to_stand_alone(recipe_file, tmp_path):
    recipe = load_recipe(str(recipe_file), PurifierRecipe)

    def psnr_of_one_map(name, rates):
        network = dataclasses.replace(recipe.network, rates=rates)
        path = train_purifier(dataclasses.replace(recipe, network=network), tmp_path / name, "32")
        purifier = comdefend.load(str(path))
        purifier.config = dataclasses.replace(recipe.network, rates=(1, 2))
        images = fashion_images()[0][150:]
        return measure_fidelity(purifier.at(1), images).psnr

    assert psnr_of_one_map("nested", (1, 2)) > psnr_of_one_map("whole", ()) + 2
    record = comdefend.load_record(str(tmp_path / "nested" / "purifier.safetensors"))
    assert list(record["fidelity_at"]) == ["1", "2"]
    assert "| PSNR at 1 bits a pixel |" in (tmp_path / "nested" / "purifier.md").read_text()


def test_training_goes_on_from_given_weights(recipe_file, tmp_path):
    def trained(name, **changes):
        recipe = load_recipe(str(recipe_file), PurifierRecipe, steps=10, **changes)
        return train_purifier(recipe, tmp_path / name, precision="32")

    first = trained("first")
    second = trained("second", start=str(first), learning_rate=1e-9, bias_rate=1e-9)
    expected = state(first)
    for name, tensor in state(second).items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4)
    start = comdefend.load_record(second)["start"]
    assert start["recipe"] == comdefend.load_record(first)["recipe"]
    assert "10 steps on" in second.with_suffix(".md").read_text()
    with pytest.raises(InputError, match="has other layers"):
        trained("third", start="gray-4bpp")


def test_a_bad_training_image_is_one_line_with_its_name(recipe_file, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        Image.effect_noise((40, 40), 50).save(folder / f"{index}.png")
    (folder / "bad.png").write_bytes((folder / "0.png").read_bytes()[:200])
    arguments = ["--data", f"folder:{folder}"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_file.read_text().replace("validation: 16", "validation: 1"))
    out = subprocess.run(
        command(recipe, tmp_path / "run", *arguments),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 1, out.stderr
    assert out.stderr.strip().splitlines()[-1].startswith(f"error: {folder / 'bad.png'}: cannot be")
    assert "Traceback" not in out.stderr


def test_training_on_a_folder_of_photographs(photo_folder, recipe_file, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("chelsea.png", "coffee.png", "rocket.jpg", "camera.png"):
        (folder / name).symlink_to(photo_folder / name)
    Image.new("RGB", (5, 9), "red").save(folder / "smaller-than-a-crop.png")
    recipe = load_recipe(
        str(recipe_file), PurifierRecipe, data=f"folder:{folder}", steps=20, validation=2
    )
    path = train_purifier(recipe, tmp_path / "run", precision="32")
    assert comdefend.load_record(str(path))["measured_on"] == "held out of training"


def test_bad_use(recipe_file, tmp_path):
    recipe = load_recipe(str(recipe_file), PurifierRecipe, steps=10)
    with pytest.raises(InputError, match="do not leave any to train on"):
        train_purifier(
            load_recipe(str(recipe_file), PurifierRecipe, validation=150), tmp_path / "a"
        )
    with pytest.raises(InputError, match="must be a multiple of devices"):
        train_purifier(recipe, tmp_path / "b", devices=3)
    with pytest.raises(InputError, match="precision must be one of auto, 32, bf16"):
        train_purifier(recipe, tmp_path / "c", precision="fp8")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "recipe.json").write_text(json.dumps({"other": 1}))
    with pytest.raises(InputError, match="holds a run of another recipe"):
        train_purifier(recipe, tmp_path / "d")
