import math

import pytest
import torch
import torch.nn.functional as F

import comdefend
from comdefend.data.sources import load_image_set
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.training.classifier import train_classifier
from comdefend.training.objective import complement_loss, perturbed
from comdefend.training.recipe import ClassifierRecipe, load_recipe
from comdefend.weights.zoo import save_weights


def test_complement_loss_by_hand():
    # The wrong classes share evenly: entropy log 3, over three wrong classes.
    even = complement_loss(torch.tensor([[9.0, 1.0, 1.0, 1.0]]), torch.tensor([0]))
    assert even.item() == pytest.approx(-math.log(3) / 3)
    # One wrong class has all.
    alone = complement_loss(torch.tensor([[0.0, 60.0, 0.0, 0.0]]), torch.tensor([0]))
    assert alone.item() == pytest.approx(0, abs=1e-6)
    # Probabilities 3/4 and 1/4 among two wrong classes.
    logits = torch.tensor([[5.0, math.log(3), 0.0]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert complement_loss(logits, torch.tensor([0])).item() == pytest.approx(-entropy / 2)


def test_complement_loss_pushes_wrong_classes_together_and_leaves_the_right_one_alone():
    logits = torch.tensor([[2.0, 3.0, -1.0, 0.0]], requires_grad=True)
    complement_loss(logits, torch.tensor([0])).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0] == 0
    assert logits.grad[0, 1] > 0 > logits.grad[0, 2]


@pytest.mark.parametrize("steps", [1, 3])
def test_training_attacks_stay_in_their_ball_and_raise_the_loss(fashion, steps):
    images, labels = fashion.images[::20], fashion.labels[::20]
    model = fashion.classifier

    def attack(seed):
        generator = torch.Generator().manual_seed(seed)
        return perturbed(model, images, labels, 8, steps, generator)

    found = attack(0)
    assert (found - images).abs().max() <= 8 / 255 + 1e-6
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(found, attack(0))
    assert not torch.equal(found, attack(1))
    with torch.no_grad():
        assert F.cross_entropy(model(found), labels) > 2 * F.cross_entropy(model(images), labels)
    assert not model.training


def test_training_attacks_leave_batch_statistics_alone(fashion):
    model = comdefend.load_classifier("fashion-mnist-small").train()
    before = [buffer.clone() for buffer in model.buffers()]
    labels = fashion.labels[:4]
    perturbed(model, fashion.images[:4], labels, 8, 1, torch.Generator())
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), before, strict=True))


@pytest.mark.parametrize("change", [{"attack_steps": 1}, {"complement": True}])
def test_every_objective_learns(small_recipe, tmp_path, change):
    recipe = load_recipe(str(small_recipe), ClassifierRecipe, epochs=8, **change)
    path = train_classifier(recipe, tmp_path / "run", precision="32")
    assert comdefend.load_record(path)["accuracy"] > 0.3


def test_training_on_purified_images(small_recipe, parquet, tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    config = PurifierConfig(1, encoder_widths=(4,), decoder_widths=(4,), code_maps=4)
    save_weights(weights, ComDefend(config), {})
    changes = {"epochs": 2, "purifier": str(weights)}
    recipe = load_recipe(str(small_recipe), ClassifierRecipe, **changes)
    path = train_classifier(recipe, tmp_path / "run", precision="32")
    record = comdefend.load_record(path)
    defended = comdefend.DefendedClassifier(
        comdefend.load(weights), comdefend.load_classifier(path)
    )
    test = load_image_set(f"parquet:{parquet}", "test")
    with torch.no_grad():
        hits = defended(test.images.float() / 255).argmax(1) == test.labels
    # Purified images are rounded to 8 bits there.
    assert record["purified_accuracy"] == pytest.approx(hits.float().mean().item(), abs=0.1)
    assert "accuracy on purified images" in (tmp_path / "run" / "classifier.md").read_text()
    # The purified training images were kept.
    assert list((tmp_path / "run" / "purified").glob("*.safetensors"))
