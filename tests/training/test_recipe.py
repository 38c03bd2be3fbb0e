import json

import pytest
from msgspec.structs import replace

from comdefend import zoo
from comdefend.classifiers import ClassifierSpec
from comdefend.errors import DataMissingError, InputError
from comdefend.nn.classifier import ClassifierConfig
from comdefend.nn.config import GRAY_4BPP, RGB_12BPP, PurifierConfig
from comdefend.training.recipe import (
    DefenseRecipe,
    PurifierRecipe,
    PurifyingRecipe,
    build_recipe,
    load_recipe,
    recipe_to_dict,
    recipes,
)
from comdefend.training.shipped import recipe_titles


def test_shipped_recipes_survive_json_and_have_a_title():
    for name, recipe in recipes().items():
        assert build_recipe(json.loads(json.dumps(recipe_to_dict(recipe))), name) == recipe
        assert load_recipe(name) is not None
    titles = recipe_titles()
    assert list(titles) == list(recipes())
    assert all(title.endswith(".") and "\n" not in title for title in titles.values())


def test_the_papers_networks():
    assert load_recipe("rgb-12bpp", PurifierRecipe).network == RGB_12BPP
    assert load_recipe("gray-4bpp", PurifierRecipe).network == GRAY_4BPP


def test_shipped_weights_were_made_by_the_shipped_recipes():
    records = {name: zoo.load_record(name) for name in (*zoo.weights(), *zoo.classifier_weights())}
    for name, record in records.items():
        made_by = record["recipe"]
        if made_by.get("trained") == "both":
            # The recipe of a pair has the name of its classifier.
            (name,) = (n for n in zoo.classifier_weights() if records[n] == record)
        shipped = recipe_to_dict(load_recipe(name))
        # Fields that are newer than a record have had their defaults.
        if made_by.get("network"):
            made_by["network"] = shipped["network"] | made_by["network"]
        assert {k: v for k, v in made_by.items() if k in shipped} == {
            k: v for k, v in shipped.items() if k in made_by
        }


def test_changes_replace_fields_and_none_leaves_them():
    recipe = load_recipe("rgb-12bpp", PurifierRecipe, steps=500, seed=3, data=None)
    assert (recipe.steps, recipe.seed, recipe.data) == (500, 3, "cifar10")
    assert recipe.epochs == 2
    with pytest.raises(InputError, match="rgb-12bpp: unknown field 'trained'; known: data, "):
        load_recipe("rgb-12bpp", trained="both")


def test_a_classifier_is_a_name_or_a_mapping():
    checkpoint = {"name": "timm:test_resnet", "checkpoint": "net.pt"}
    guided = {"kind": "guided", "data": "folder:x", "steps": 1, "start": "rgb-3bpp-robust"}
    recipe = build_recipe({**guided, "classifiers": ["efficientnet-lite0", checkpoint]}, "guided")
    assert recipe.classifiers == ("efficientnet-lite0", ClassifierSpec(**checkpoint))
    assert build_recipe(recipe_to_dict(recipe), "again") == recipe
    defense = {
        "kind": "defense", "data": "folder:x", "epochs": 1, "purifier": "rgb-3bpp-robust",
        "trained": "purifier",
    }  # fmt: skip
    for value, opened in (
        ("cifar10-small", ClassifierSpec("cifar10-small")),
        (checkpoint, ClassifierSpec(**checkpoint)),
    ):
        recipe = build_recipe({**defense, "classifier": value}, "defense")
        assert recipe.opened == recipe.kept == opened
        assert build_recipe(recipe_to_dict(recipe), "again") == recipe
    new = build_recipe({**defense, "classifier": {"classes": 4}, "trained": "both"}, "defense")
    assert new.classifier == ClassifierConfig(classes=4)
    assert new.opened is None


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        ({"checkpoint": "net.pt"}, "x: classifier: needs 'name'"),
        ({"name": "a:b", "file": "net.pt"}, "classifier: unknown field 'file'; known: name, check"),
        ({"name": "a:b", "mean": [0.5]}, "mean and std go together"),
        ({"name": "a:b", "checkpoint": "net.pt"}, "a classifier that is trained has no checkpoint"),
        ({"widths": 3}, "classifier: widths: must be a list"),
        (3, "classifier: must be a mapping"),
    ],
)
def test_wrong_classifiers_of_a_recipe(classifier, message):
    fields = {"kind": "defense", "data": "folder:x", "epochs": 1, "purifier": "rgb-3bpp-robust"}
    with pytest.raises(InputError, match=message):
        build_recipe({**fields, "classifier": classifier}, "x")


def test_guides_need_no_classes():
    fields = {"kind": "guided", "data": "folder:x", "steps": 1, "start": "rgb-3bpp-robust"}
    with pytest.raises(InputError, match="x: classifiers: classes have no use here"):
        build_recipe({**fields, "classifiers": [{"name": "a:b", "classes": "c.txt"}]}, "x")


def test_steps_need_not_fill_whole_epochs():
    epochs = {s: load_recipe("rgb-12bpp", PurifierRecipe, steps=s).epochs for s in (100, 250, 333)}
    assert epochs == {100: 1, 250: 1, 333: 2}


def test_a_start_replaces_the_new_purifier_in_front_of_a_classifier():
    recipe = load_recipe("cifar10-robust", DefenseRecipe, start="rgb-variable@3", epochs=1)
    assert (recipe.purifier, recipe.network) == ("rgb-variable@3", None)
    assert (recipe.clean_epochs, recipe.epochs, recipe.trained) == (0, 1, "both")
    with pytest.raises(InputError, match="cifar10-adversarial: has no purifier, so none to start"):
        load_recipe("cifar10-adversarial", start="rgb-variable@3")


def test_recipes_know_the_weight_file_that_they_end_with():
    files = {name: load_recipe(name).weights_file for name in recipes()}
    assert files["rgb-12bpp"] == "purifier.safetensors"
    assert files["cifar10-hgd"] == "denoiser.safetensors"
    assert files["cifar10-robust"] == "classifier.safetensors"
    assert files["rgb-3bpp-adversarial"] == "purifier.safetensors"


PURIFIER = {"kind": "purifier", "data": "mnist", "steps": 250, "network": {}}
DEFENSE = {
    "kind": "defense", "data": "mnist", "epochs": 6,
    "classifier": "fashion-mnist-small", "purifier": "gray-4bpp",
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "change", "message"),
    [
        (PURIFIER, {"kind": None}, "needs kind, one of purifier, classifier, denoiser, "),
        (PURIFIER, {"kind": "poem"}, "needs kind, one of purifier"),
        (PURIFIER, {"speed": 9}, "unknown field 'speed'; known: "),
        (PURIFIER, {"steps": -1}, "steps must be a positive number"),
        (PURIFIER, {"steps": True}, "steps: must be 'int', not 'bool'"),
        (PURIFIER, {"steps": float("inf")}, "steps: must be a finite number"),
        (PURIFIER, {"seed": 99999999999}, "seed must be from 0"),
        (PURIFIER, {"data": 7}, "data: must be 'str', not 'int'"),
        (PURIFIER, {"batch": "x"}, "batch: must be 'int', not 'str'"),
        (PURIFIER, {"network": 7}, "network: must be a mapping"),
        (PURIFIER, {"network": {"code_maps": 0}}, "network: code_maps must be"),
        (PURIFIER, {"network": {"depth": 3}}, "network: unknown field 'depth'; known: channels, "),
        (
            PURIFIER,
            {"network": {"rates": [2]}, "teacher": "rgb-12bpp"},
            "teacher: the network's rates must be empty",
        ),
        (
            PURIFIER,
            {"image_noise": [0.25], "teacher": "rgb-12bpp"},
            "teacher: image_noise must be empty",
        ),
        (PURIFIER, {"image_noise": [0.25, 64]}, "image_noise must be above 0 and at most 1"),
        (DEFENSE, {"purifier": "none"}, "trained must be classifier, not 'both'"),
        (DEFENSE, {"network": {}}, "give purifier or network, not both"),
        (
            DEFENSE,
            {"purifier": "none", "network": {}, "trained": "classifier"},
            "trained must be both or purifier, not 'classifier'",
        ),
        (
            DEFENSE,
            {"classifier": {}, "trained": "purifier"},
            "trained must be both or classifier, not 'purifier'",
        ),
        (DEFENSE, {"trained": "all"}, "trained must be both or purifier or classifier, not 'all'"),
        (DEFENSE, {"clean_epochs": 6}, "clean_epochs must be at least 0 and fewer than epochs .6."),
        (DEFENSE, {"clean_epochs": 1, "trained": "classifier"}, "clean_epochs train the purifier"),
        (DEFENSE, {"stand_ins": []}, "stand_ins: name at least one"),
        (DEFENSE, {"stand_ins": ["tanh"]}, r"unknown stand-ins \['tanh'\]; known: identity"),
        (DEFENSE, {"averaging": 1.0}, "averaging must be at least 0 and below 1"),
        (DEFENSE, {"attack_eps": 300.0}, "attack_eps is in units of 1/255"),
    ],
)
def test_bad_fields_are_one_line(values, change, message):
    with pytest.raises(InputError, match=f"^recipe.yaml: {message}") as caught:
        build_recipe({k: v for k, v in (values | change).items() if v is not None}, "recipe.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b", "must be a mapping"), ("a: [", "not readable as YAML")],
)
def test_files_that_are_no_recipe(tmp_path, text, message):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(str(file))


def test_recipes_of_another_kind_and_unknown_ones():
    with pytest.raises(InputError, match="cifar10-small: is a recipe for a classifier, not for a "):
        load_recipe("cifar10-small", PurifyingRecipe)
    shipped = "shipped: gray-3bpp-denoising-start, gray-4bpp, .*rgb-12bpp"
    with pytest.raises(InputError, match=rf"unknown recipe 'rgb'; {shipped}"):
        load_recipe("rgb", PurifierRecipe)
    with pytest.raises(DataMissingError, match="no such file"):
        load_recipe("nowhere.yaml")


def test_a_classifier_can_be_trained_against_attacks_from_the_beginning():
    new = ClassifierConfig(channels=1, mean=(0.5,), std=(0.25,))
    recipe = DefenseRecipe(data="mnist", classifier=new, trained="classifier", epochs=1)
    assert build_recipe(recipe_to_dict(recipe), "recipe") == recipe
    pair = replace(recipe, network=PurifierConfig(channels=1), trained="both")
    assert pair.purifies
    assert not recipe.purifies
