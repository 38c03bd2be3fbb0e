"""Trainings on few images and of few steps."""

import dataclasses
import warnings

import pytest
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import load_file

import comdefend
from comdefend.errors import InputError
from comdefend.training.fit import fit
from comdefend.training.prepared import FewStepsWarning, held_out_count, warn_of_few_steps
from comdefend.training.recipe import load_recipe, recipes
from comdefend.training.run import prepare, train


def test_what_is_held_out_follows_the_data():
    for name, recipe in recipes().items():
        size = 50_000 if "cifar" in recipe.data else 60_000
        assert held_out_count(size, recipe) == recipe.validation, name
    own = load_recipe("rgb-variable", data="folder:photos")
    counts = [held_out_count(images, own) for images in (2, 20, 1200, 50_000)]
    assert counts == [1, 2, 120, 128]
    classifier = load_recipe("cifar10-small", data="folder:photos")
    assert held_out_count(1200, classifier) == 120
    given = load_recipe("rgb-variable", data="folder:photos", validation=5)
    assert held_out_count(20, given) == 5
    assert held_out_count(1200, load_recipe("rgb-variable", validation=300)) == 300
    with pytest.raises(InputError, match="20 images are too few, 20 are held out for"):
        held_out_count(20, load_recipe("rgb-variable", validation=20))


def test_twenty_photographs_are_enough(recipes, tmp_path):
    for index in range(20):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.effect_noise((40, 30 + index), 50).save(tmp_path / "photos" / f"{index}.png")
    recipe = replace(
        recipes["purifier"], data=f"folder:{tmp_path / 'photos'}", validation=128, steps=2
    )
    record = comdefend.load_record(train(recipe, tmp_path / "run", "float32"))
    assert record["run"]["training_images"] == 18
    assert record["fidelity"]["images"] == 2


@pytest.mark.parametrize("kind", ["classifier", "defense"])
def test_fewer_images_than_a_batch_are_one_batch(kind, recipes, tmp_path):
    training = prepare(replace(recipes[kind], batch=512), tmp_path)
    ((images, labels),) = training.train
    assert len(images) == len(labels) == 80
    assert training.module.steps == training.epochs == 2


def test_a_resumed_run_with_a_shorter_last_epoch_ends_as_an_uninterrupted_one(recipes, tmp_path):
    recipe = replace(recipes["purifier"], steps=12)
    assert recipe.epochs == 3
    folder = tmp_path / "stopped"
    two = dataclasses.replace(prepare(recipe, folder), epochs=2)
    fit(two, folder, "float32")
    assert two.module.step == 10
    resumed = load_file(train(recipe, folder, "float32"))
    training = prepare(recipe, tmp_path / "steps")
    fit(training, tmp_path / "steps", "float32")
    assert training.module.step == 12
    for name, tensor in training.module.network.state_dict().items():
        assert tensor.equal(resumed[name])


@pytest.mark.parametrize(
    ("name", "changes", "steps", "message"),
    [
        ("rgb-12bpp", {}, 100, r"^100 steps are far too few .*; give --steps 500 or more$"),
        ("rgb-12bpp", {"start": "rgb-12bpp"}, 100, None),
        ("rgb-12bpp", {"start": "rgb-12bpp"}, 10, "give --steps 50 or more"),
        ("cifar10-robust", {"epochs": 7}, 35, r"give --epochs 100 \(at this --batch\) or more"),
        ("cifar10-robust", {}, 2000, None),
    ],
)
def test_far_too_few_steps_are_a_warning(name, changes, steps, message):
    recipe = load_recipe(name, **changes)
    if message is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_few_steps(recipe, steps)
    else:
        with pytest.warns(FewStepsWarning, match=message):
            warn_of_few_steps(recipe, steps)
