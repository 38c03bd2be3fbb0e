import json

import pytest

import comdefend
from comdefend.errors import DataMissingError, InputError
from comdefend.nn.config import GRAY_4BPP, RGB_12BPP
from comdefend.training.recipe import (
    ClassifierRecipe,
    DefenseRecipe,
    PurifierRecipe,
    load_recipe,
    recipe_to_dict,
    recipes,
)


def test_recipes_of_the_shipped_weights():
    assert recipes(PurifierRecipe) == [
        "gray-4bpp", "rgb-12bpp", "rgb-12bpp-lite", "rgb-12bpp-lite-start",
        "rgb-variable", "rgb-variable-start",
    ]  # fmt: skip
    assert recipes(ClassifierRecipe) == ["cifar10-small", "fashion-mnist-small"]
    assert load_recipe("rgb-12bpp", PurifierRecipe).network == RGB_12BPP
    assert load_recipe("gray-4bpp", PurifierRecipe).network == GRAY_4BPP


def test_changes_replace_fields_and_none_leaves_them():
    recipe = load_recipe("rgb-12bpp", PurifierRecipe, steps=500, seed=3, data=None)
    assert (recipe.steps, recipe.seed, recipe.data) == (500, 3, "cifar10")


def test_a_start_takes_the_place_of_the_new_purifier_before_a_classifier():
    recipe = load_recipe("cifar10-robust", DefenseRecipe, start="rgb-variable@3", epochs=1)
    assert (recipe.purifier, recipe.network) == ("rgb-variable@3", None)
    assert (recipe.clean_epochs, recipe.epochs, recipe.trained) == (0, 1, "both")
    with pytest.raises(InputError, match="cifar10-adversarial: has no purifier, so none to start"):
        load_recipe("cifar10-adversarial", DefenseRecipe, start="rgb-variable@3")


def test_shipped_weights_were_made_by_the_shipped_recipes():
    kinds = {"purifier": PurifierRecipe, "classifier": ClassifierRecipe, "defense": DefenseRecipe}
    records = {
        name: comdefend.load_record(name)
        for name in (*comdefend.weights(), *comdefend.classifier_weights())
    }
    for name, record in records.items():
        made_by = record["recipe"]
        if made_by.get("trained") == "both":
            # Of a pair, the recipe has the classifier's name.
            (name,) = (n for n in comdefend.classifier_weights() if records[n] == record)
        kind = kinds[made_by["kind"]]
        shipped = json.loads(json.dumps(recipe_to_dict(load_recipe(name, kind))))
        # Fields that came later have their defaults in what was made before. A classifier that is
        # trained alone against attacks comes with its network.
        if made_by["network"]:
            made_by["network"] = shipped["network"] | made_by["network"]
        assert {k: v for k, v in made_by.items() if k in shipped} == {
            k: v for k, v in shipped.items() if k in made_by
        }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b", "must be a mapping"),
        ("a: [", "not readable as YAML"),
        ("data: mnist", "needs 'kind: purifier'"),
        ("kind: purifier\ndata: mnist\nsteps: 250\nspeed: 9", r"unknown fields \['speed'\]"),
        ("kind: purifier\ndata: mnist", "missing 1 required positional argument: 'steps'"),
        ("kind: purifier\ndata: mnist\nsteps: -1", "steps must be a positive number"),
        ("kind: purifier\ndata: mnist\nsteps: 250\nseed: 99999999999", "seed must be from 0"),
        ("kind: purifier\ndata: mnist\nsteps: true", "steps must be of type int, not True"),
        ("kind: purifier\ndata: 7\nsteps: 250", "data must be of type str, not 7"),
        ("kind: purifier\ndata: mnist\nsteps: 333", "multiple of epoch_steps"),
        ("kind: purifier\ndata: mnist\nsteps: 250\nnetwork: {code_maps: 0}", "code_maps"),
        ("kind: classifier\ndata: mnist\nepochs: 3", "is a ClassifierRecipe"),
        ("kind: purifier\ndata: mnist\nsteps: 250\nnetwork: 7", "network: must be a mapping"),
        ("kind: purifier\ndata: mnist\nsteps: 250\nbatch: x", "batch must be of type int, not 'x'"),
    ],
)
def test_bad_recipes(tmp_path, text, message):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(str(file), PurifierRecipe)
    assert "\n" not in str(caught.value)


def test_unknown_recipes():
    with pytest.raises(InputError, match="unknown recipe 'rgb'; shipped: gray-4bpp, rgb-12bpp"):
        load_recipe("rgb", PurifierRecipe)
    with pytest.raises(DataMissingError, match="no such file"):
        load_recipe("nowhere.yaml", PurifierRecipe)
