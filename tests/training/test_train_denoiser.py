import csv
import dataclasses

import pytest
import torch

import comdefend
from comdefend.data.sources import load_image_set
from comdefend.defenses import DefendedClassifier, load_defense
from comdefend.errors import InputError
from comdefend.nn.batches import apply
from comdefend.nn.denoiser import DenoiserConfig
from comdefend.nn.metrics import peak_signal_noise_ratio, round_to_8_bits
from comdefend.training import denoiser as training
from comdefend.training.denoiser import train_denoiser
from comdefend.training.objective import perturbed
from comdefend.training.recipe import DenoiserRecipe


@pytest.fixture(scope="module")
def recipe(parquet):
    return DenoiserRecipe(
        data=f"parquet:{parquet}",
        network=DenoiserConfig(channels=1, widths=(8, 8)),
        classifier="fashion-mnist-small",
        steps=40,
        batch=8,
        attack_steps=2,
        epoch_steps=20,
        validation=20,
    )


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("denoiser") / "run"
    return train_denoiser(recipe, folder, "32")


def test_denoised_attacks_are_recognised_again_by_images_never_seen(trained, parquet):
    test = load_image_set(f"parquet:{parquet}", "test")
    guide = comdefend.load_classifier("fashion-mnist-small")
    defended = DefendedClassifier(load_defense(str(trained)), guide)
    clean = test.images.float() / 255
    attacked = perturbed(guide, clean, test.labels, 16, 3, torch.Generator().manual_seed(0))

    def hits(model, images):
        return int((apply(model, images).argmax(1) == test.labels).sum())

    assert hits(defended, attacked) >= hits(guide, attacked) + 10
    assert hits(defended, clean) >= hits(guide, clean) - 4


def test_the_card_tells_the_truth(trained, parquet):
    test = load_image_set(f"parquet:{parquet}", "test")
    denoiser, record = load_defense(str(trained)), comdefend.load_record(trained)
    clean = test.images.float() / 255
    denoised = apply(denoiser, clean)
    guide = comdefend.load_classifier("fashion-mnist-small")
    accuracy = (apply(guide, denoised).argmax(1) == test.labels).float().mean().item()
    assert record["measured_on"] == "test"
    assert record["images"] == 50
    assert record["accuracy"] == pytest.approx(accuracy)
    psnr = peak_signal_noise_ratio(round_to_8_bits(denoised), clean).item()
    assert record["psnr"] == pytest.approx(psnr)
    assert record["guide"] == comdefend.load_record("fashion-mnist-small")
    assert f"{psnr:.2f} dB" in trained.with_suffix(".md").read_text()


def test_validation_is_logged(trained):
    (log,) = (trained.parent / "logs" / "csv").glob("version_*/metrics.csv")
    with log.open() as lines:
        losses = [row["validation_loss_attacked"] for row in csv.DictReader(lines)]
    first, last = (float(loss) for loss in losses if loss)
    assert last < first


def test_a_run_that_was_stopped_ends_with_the_same_weights(recipe, trained, tmp_path, monkeypatch):
    fit = training.fit

    def stopped_early(module, train, validation, output, epochs, *others):
        return fit(module, train, validation, output, 1, *others)

    monkeypatch.setattr(training, "fit", stopped_early)
    train_denoiser(recipe, tmp_path / "run", "32")
    monkeypatch.undo()
    path = train_denoiser(recipe, tmp_path / "run", "32")
    expected = load_defense(str(trained)).state_dict()
    for name, tensor in load_defense(str(path)).state_dict().items():
        assert tensor.equal(expected[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier": "cifar10-small"}, "takes 3 channels, the recipe's network 1"),
        ({"classifier": "resnet"}, "unknown weights 'resnet'"),
        ({"validation": 150}, "do not leave any to train on"),
    ],
)
def test_what_cannot_start_leaves_no_folder(recipe, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train_denoiser(dataclasses.replace(recipe, **change), tmp_path / "run", "32")
    assert not (tmp_path / "run").exists()
