"""What a run leaves that was stopped, and how it shows its progress."""

import dataclasses
import re

import pytest
import yaml
from safetensors.torch import load_file

import comdefend
from comdefend.training.fit import fit
from comdefend.training.progress import duration
from comdefend.training.recipe import build_recipe, load_recipe, recipe_to_dict
from comdefend.training.run import prepare, train
from comdefend.training.shipped import recipe_texts


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("purifier", ["purifier"]),
        ("classifier", ["classifier"]),
        ("denoiser", ["denoiser"]),
        ("pixelcnn", ["pixelcnn"]),
        ("defense", ["classifier", "purifier"]),
    ],
)
def test_a_stopped_run_leaves_its_weights(kind, files, recipes, tmp_path):
    training = dataclasses.replace(prepare(recipes[kind], tmp_path), epochs=1)
    fit(training, tmp_path, "float32")
    written = sorted((tmp_path / "checkpoints").glob("*.safetensors"))
    assert [path.stem for path in written] == files
    for path in written:
        record = comdefend.load_record(path)
        steps = training.module.steps
        assert record["unfinished"] == {"steps_done": steps // 2, "steps": steps}
        assert record["recipe"] == recipe_to_dict(recipes[kind])
    assert not list(tmp_path.glob("*.safetensors"))
    if kind == "purifier":
        state = training.module.network.state_dict()
        assert all(tensor.equal(state[name]) for name, tensor in load_file(path).items())
        assert comdefend.load(path).config == recipes[kind].network
    if kind == "defense":
        state = training.module.best.purifier.state_dict()
        assert all(tensor.equal(state[name]) for name, tensor in load_file(path).items())


def test_a_finished_run_leaves_the_last_weights_alone(trained):
    folder = trained("defense").parent
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]


def test_progress_says_which_epoch_of_how_many_and_the_time_that_remains(recipes, tmp_path, capfd):
    train(recipes["purifier"], tmp_path, "float32")
    shown = "".join(capfd.readouterr())
    assert "Epoch 1 of 2" in shown
    assert "Epoch 2 of 2" in shown
    assert re.search(r"remaining=0:00:\d\d", shown)
    assert duration(3725.4) == "1:02:05"


def test_printed_recipes_load_again():
    for name, text in recipe_texts().items():
        assert build_recipe(yaml.safe_load(text), name) == load_recipe(name)
