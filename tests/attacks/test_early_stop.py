"""Attacks that leave an image as soon as it is misclassified."""

import pytest
import torch

from comdefend.attacks import run_attack
from tests.attacks.test_attacks import Line
from tests.attacks.tiny import accuracy, tiny_batch, tiny_classifier


@pytest.mark.parametrize(("attack", "steps"), [("fgsm-early", 50), ("bim-early", 50)])
def test_they_go_just_beyond_the_boundary(attack, steps):
    images, _ = tiny_batch(tiny_classifier())
    # Each value moves by 1/255 for every 8/255 that the image comes nearer to the boundary.
    normal = torch.ones(1, 1, 8, 8)
    model = Line(normal, images, torch.tensor([0.5, 2.5, 4.1, 30]) * 8 / 255)
    labels = torch.zeros(4, dtype=torch.int64)
    sizes = {} if attack == "fgsm-early" else {"step_size": 0.1}
    attacked = run_attack(model, images, labels, attack, 5, steps, rounded=False, **sizes)
    moved = (images - attacked).flatten(1).amax(1) * 255
    # In steps of 0.1; the last image is out of reach, and goes as far as the bound.
    torch.testing.assert_close(moved[:3], torch.tensor([0.5, 2.5, 4.1]), atol=0.11, rtol=0)
    assert moved[3].item() == pytest.approx(5, abs=1e-3)
    assert accuracy(model, attacked, labels) == 0.25


@pytest.mark.parametrize("attack", ["fgsm-early", "bim-early"])
def test_they_leave_what_is_wrong_already(attack):
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    attacked = run_attack(model, images, labels.add(1) % 5, attack, 8, rounded=False)
    assert attacked.equal(images)


def test_stopping_early_breaks_the_same_images_with_less():
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    whole, early = (
        run_attack(model, images, labels, attack, 20, 10, rounded=False)
        for attack in ("bim", "bim-early")
    )
    assert accuracy(model, early, labels) <= accuracy(model, whole, labels) < 1
    assert (early - images).norm() < 0.9 * (whole - images).norm()
