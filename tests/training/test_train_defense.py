import dataclasses
from pathlib import Path

import pytest
import torch

import comdefend
import comdefend.training.defense as training
from comdefend.attacks import run_attack
from comdefend.data.sources import load_image_set
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError
from comdefend.nn.batches import apply
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.training.defense import train_defense
from comdefend.training.measure import measure_fidelity
from comdefend.training.purifier import initialize
from comdefend.training.recipe import DefenseRecipe, build_recipe
from comdefend.training.start import train
from comdefend.weights.zoo import save_weights


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A small purifier that nobody has trained yet."""
    torch.manual_seed(0)
    network = PurifierConfig(
        channels=1, encoder_widths=(16,), decoder_widths=(16,), code_maps=8, downscale=2, phi=5.0
    )
    purifier = ComDefend(network)
    initialize(purifier)
    path = tmp_path_factory.mktemp("start") / "purifier.safetensors"
    save_weights(path, purifier, {"seed": 0})
    return path


@pytest.fixture(scope="module")
def recipe(parquet, start):
    return DefenseRecipe(
        data=f"parquet:{parquet}", purifier=str(start), classifier="fashion-mnist-small",
        epochs=6, batch=16, validation=20, averaging=0.8, learning_rate=0.02,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    return train(recipe, tmp_path_factory.mktemp("defense") / "run", "32")


def pair(path):
    purifier = comdefend.load(path.parent / "purifier.safetensors")
    return DefendedClassifier(purifier, comdefend.load_classifier(path))


def left(defended, images, labels):
    """Return how many images PGD through the whole pipeline leaves right."""
    found = run_attack(defended, images, labels, "pgd", 8, 10)
    return int((apply(defended, found).argmax(1) == labels).sum())


def test_the_pair_withstands_more_than_it_did(trained, start, parquet):
    test = load_image_set(f"parquet:{parquet}", "test")
    images = test.images.float() / 255
    classifier = comdefend.load_classifier("fashion-mnist-small")
    before = DefendedClassifier(comdefend.load(start), classifier)
    assert left(pair(trained), images, test.labels) >= left(before, images, test.labels) + 8


def test_a_pair_that_learns_from_the_hard_code_withstands_more_too(
    recipe, start, parquet, tmp_path
):
    test = load_image_set(f"parquet:{parquet}", "test")
    images = test.images.float() / 255
    classifier = comdefend.load_classifier("fashion-mnist-small")
    before = DefendedClassifier(comdefend.load(start), classifier)
    hard = train(dataclasses.replace(recipe, noisy=False, attack_steps=2), tmp_path / "run", "32")
    assert left(pair(hard), images, test.labels) >= left(before, images, test.labels) + 8


def test_the_record_is_of_the_stored_pair(trained, parquet):
    test = load_image_set(f"parquet:{parquet}", "test")
    record = comdefend.load_record(trained)
    accuracy = (apply(pair(trained), test.images.float() / 255).argmax(1) == test.labels).float()
    assert record["accuracy"] == pytest.approx(accuracy.mean().item())
    assert record["start"]["classifier"] == comdefend.load_record("fashion-mnist-small")
    assert 0 <= record["held_out_robust_accuracy"] <= 1
    assert comdefend.load_record(trained.parent / "purifier.safetensors") == record
    assert f"{record['fidelity']['psnr']:.2f} dB" in trained.with_suffix(".md").read_text()


def test_a_run_that_was_stopped_ends_with_the_same_weights(recipe, trained, tmp_path, monkeypatch):
    fit = training.fit

    def stopped_early(module, train, validation, output, epochs, *others):
        return fit(module, train, validation, output, 2, *others)

    monkeypatch.setattr(training, "fit", stopped_early)
    train_defense(recipe, tmp_path / "run", "32")
    monkeypatch.undo()
    path = train_defense(recipe, tmp_path / "run", "32")
    expected = pair(trained).state_dict()
    for name, tensor in pair(path).state_dict().items():
        assert tensor.equal(expected[name]), name


def test_a_purifier_stays_as_it_is(recipe, start, tmp_path):
    path = train_defense(
        dataclasses.replace(recipe, trained="classifier", epochs=1), tmp_path / "run"
    )
    assert same(pair(path).purifier, comdefend.load(start))
    assert not same(pair(path).classifier, comdefend.load_classifier("fashion-mnist-small"))


def test_a_purifier_before_any_classifier(recipe, start, tmp_path, monkeypatch):
    """The classifier is the user's, stays as it is, and is not written."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "import torch\n\ndef network():\n"
        "    torch.manual_seed(0)\n"
        "    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))\n"
        "    return head.eval()\n"
    )
    before = dataclasses.replace(recipe, trained="purifier", classifier="mine:network", epochs=2)
    path = train(before, tmp_path / "run", "32")
    assert sorted(p.name for p in (tmp_path / "run").glob("*.safetensors")) == [
        "purifier.safetensors"
    ]
    assert not same(comdefend.load(path), comdefend.load(start))
    record = comdefend.load_record(path)
    assert record["recipe"]["classifier"] == "mine:network"
    assert set(record["start"]) == {"purifier"}
    assert "`mine:network`" in path.with_suffix(".md").read_text()


def same(one, other):
    return all(t.equal(other.state_dict()[name]) for name, t in one.state_dict().items())


def test_a_classifier_alone(recipe, tmp_path):
    alone = dataclasses.replace(recipe, purifier="none", trained="classifier", epochs=1)
    path = train_defense(alone, tmp_path / "run")
    assert not (tmp_path / "run" / "purifier.safetensors").exists()
    assert comdefend.load_record(path)["fidelity"] is None


def test_a_new_purifier(recipe, start, tmp_path):
    network = comdefend.load(start).config
    new = dataclasses.replace(recipe, purifier="none", network=network, epochs=2, clean_epochs=1)
    path = train_defense(new, tmp_path / "run")
    assert comdefend.load(path.with_stem("purifier")).config == network
    record = comdefend.load_record(path)
    assert build_recipe(record["recipe"], "record") == new
    assert "a new purifier" in path.with_suffix(".md").read_text()


def test_a_new_purifier_learns_to_rebuild_first(recipe, start, tmp_path, monkeypatch):
    network, fit = comdefend.load(start).config, training.fit
    new = dataclasses.replace(recipe, purifier="none", network=network, epochs=10, clean_epochs=9)

    def clean_epochs_only(module, train, validation, output, epochs, *others):
        return fit(module, train, validation, output, new.clean_epochs, *others)

    monkeypatch.setattr(training, "fit", clean_epochs_only)
    path = train_defense(new, tmp_path / "run")
    before = comdefend.load_classifier("fashion-mnist-small").state_dict()
    for name, tensor in pair(path).classifier.state_dict().items():
        assert tensor.equal(before[name]), name
    images = load_image_set(recipe.data, "test").images
    untrained = measure_fidelity(comdefend.load(start), images).psnr
    assert comdefend.load_record(path)["fidelity"]["psnr"] > untrained + 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier": "cifar10-small"}, "have 1 channels, this classifier takes 3"),
        ({"purifier": "magic"}, "unknown weights 'magic'"),
        ({"validation": 150}, "are too few for 150 to validate on and batches of 16"),
    ],
)
def test_what_cannot_start_leaves_no_folder(recipe, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train_defense(dataclasses.replace(recipe, **change), tmp_path / "run", "32")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"purifier": "none"}, "trained must be classifier, not 'both'"),
        (
            {"purifier": "none", "network": PurifierConfig(channels=1), "trained": "classifier"},
            "trained must be both or purifier, not 'classifier'",
        ),
        ({"network": PurifierConfig(channels=1)}, "give purifier or network, not both"),
        ({"trained": "all"}, "trained must be both or purifier or classifier, not 'all'"),
        ({"clean_epochs": 6}, "clean_epochs must be at least 0 and fewer than epochs .6.: 6"),
        ({"clean_epochs": 1, "trained": "classifier"}, "clean_epochs train the purifier"),
        ({"stand_ins": ()}, "stand_ins: name at least one"),
        ({"stand_ins": ("tanh",)}, r"unknown stand-ins \['tanh'\]; known: identity"),
        ({"averaging": 1.0}, "averaging must be at least 0 and below 1"),
        ({"attack_eps": 300.0}, "attack_eps must be at most 255"),
    ],
)
def test_bad_recipes(recipe, change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(recipe, **change)
