import subprocess
import sys

import pytest
import torch

import comdefend
from comdefend.data.sources import load_image_set
from comdefend.errors import InputError
from comdefend.training.classifier import train_classifier
from comdefend.training.measure import measure_accuracy
from comdefend.training.recipe import ClassifierRecipe, load_recipe


def test_a_classifier_learns_and_its_card_tells_the_truth(small_recipe, parquet, tmp_path):
    loaded = load_recipe(str(small_recipe), ClassifierRecipe)
    path = train_classifier(loaded, tmp_path / "run", precision="32")
    classifier = comdefend.load_classifier(path)
    test = load_image_set(f"parquet:{parquet}", "test")
    accuracy = measure_accuracy(classifier, test)
    record = comdefend.load_record(path)
    assert record["accuracy"] == accuracy > 0.4
    assert record["measured_on"] == "test"
    assert f"{accuracy:.2%}" in (tmp_path / "run" / "classifier.md").read_text()
    train = load_image_set(f"parquet:{parquet}", "train")
    mean = train.images.float().mean() / 255
    assert classifier.config.mean[0] == pytest.approx(mean.item(), abs=0.03)
    assert path.stat().st_size < 2.5 * sum(p.numel() for p in classifier.parameters()) + 20_000


@pytest.mark.slow
def test_a_run_in_two_parts_ends_as_one(small_recipe, tmp_path):
    # The second command finds the first one's checkpoint, as after a kill.
    script = (
        "import sys, lightning.pytorch as pl\n"
        "from comdefend.cli import main\n"
        "class Stop(pl.Callback):\n"
        "    def on_train_epoch_start(self, trainer, module):\n"
        "        if trainer.current_epoch == 2: import os; os._exit(9)\n"
        "import comdefend.training.classifier as c\n"
        "fit = c.fit\n"
        "c.fit = lambda *a: fit(*a[:5], [Stop()], *a[6:])\n"
        "main()\n"
    )
    arguments = ["train-classifier", str(small_recipe), "--epochs", "4", "--precision", "32", "-o"]
    parts = [*arguments, str(tmp_path / "parts")]
    assert subprocess.run([sys.executable, "-c", script, *parts]).returncode == 9
    subprocess.run([sys.executable, "-m", "comdefend", *parts], check=True)
    loaded = load_recipe(str(small_recipe), ClassifierRecipe, epochs=4)
    whole = train_classifier(loaded, tmp_path / "whole", precision="32")
    expected = comdefend.load_classifier(whole).state_dict()
    resumed = comdefend.load_classifier(tmp_path / "parts" / "classifier.safetensors")
    for name, tensor in resumed.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-3, rtol=1e-3)


def test_too_few_images_are_refused(small_recipe, tmp_path):
    loaded = load_recipe(str(small_recipe), ClassifierRecipe, batch=140)
    with pytest.raises(InputError, match="too few"):
        train_classifier(loaded, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_purifier_that_is_not_there_is_refused_at_once(small_recipe, tmp_path):
    loaded = load_recipe(str(small_recipe), ClassifierRecipe, purifier="nothere", data="mnist")
    # Before the data, which takes longer, and without a folder that refuses the corrected recipe.
    with pytest.raises(InputError, match="unknown weights 'nothere'"):
        train_classifier(loaded, tmp_path / "run")
    loaded = load_recipe(str(small_recipe), ClassifierRecipe, purifier="rgb-12bpp")
    with pytest.raises(InputError, match="rgb-12bpp takes 3 channels, the classifier 1"):
        train_classifier(loaded, tmp_path / "run")
    assert not (tmp_path / "run").exists()
