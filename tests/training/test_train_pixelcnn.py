import csv
import dataclasses

import pytest

import comdefend
from comdefend.data.sources import load_image_set
from comdefend.defenses import PixelDefend, load_defense
from comdefend.errors import InputError
from comdefend.nn.pixelcnn import PixelCNNConfig
from comdefend.training import pixelcnn as training
from comdefend.training.pixelcnn import train_pixelcnn
from comdefend.training.recipe import PixelCNNRecipe
from comdefend.weights.zoo import load_purifying


@pytest.fixture(scope="module")
def recipe(parquet):
    return PixelCNNRecipe(
        data=f"parquet:{parquet}",
        network=PixelCNNConfig(channels=1, width=8, layers=2, mixtures=3),
        steps=40,
        batch=4,
        epoch_steps=20,
        validation=20,
    )


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    return train_pixelcnn(recipe, tmp_path_factory.mktemp("pixelcnn") / "run", "32")


def test_it_learns_and_the_card_tells_the_truth(trained, parquet):
    test = load_image_set(f"parquet:{parquet}", "test")
    model, record = load_purifying(trained), comdefend.load_record(trained)
    bits = model.bits_per_dimension(test.images.float() / 255).mean().item()
    assert record["measured_on"] == "test"
    assert record["images"] == 50
    assert record["bits"] == pytest.approx(bits, rel=1e-4)
    # 8 bits a value say nothing about images.
    assert bits < 6
    assert f"{bits:.3f}" in trained.with_suffix(".md").read_text()
    assert isinstance(load_defense(str(trained)), PixelDefend)
    (log,) = (trained.parent / "logs" / "csv").glob("version_*/metrics.csv")
    with log.open() as lines:
        found = [row["validation_bits"] for row in csv.DictReader(lines)]
    first, last = (float(value) for value in found if value)
    assert last < first


def test_a_run_that_was_stopped_ends_with_the_same_weights(recipe, trained, tmp_path, monkeypatch):
    fit = training.fit

    def stopped_early(module, train, validation, output, epochs, *others):
        return fit(module, train, validation, output, 1, *others)

    monkeypatch.setattr(training, "fit", stopped_early)
    train_pixelcnn(recipe, tmp_path / "run", "32")
    monkeypatch.undo()
    path = train_pixelcnn(recipe, tmp_path / "run", "32")
    expected = load_purifying(trained).state_dict()
    for name, tensor in load_purifying(path).state_dict().items():
        assert tensor.equal(expected[name]), name


def test_what_cannot_start_leaves_no_folder(recipe, tmp_path):
    with pytest.raises(InputError, match="do not leave any to train on"):
        train_pixelcnn(dataclasses.replace(recipe, validation=150), tmp_path / "run", "32")
    assert not (tmp_path / "run").exists()
