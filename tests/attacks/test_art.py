"""The same attack by two libraries, on the same classifier and images."""

import numpy as np
import pytest
import torch
from torch import nn

from comdefend.attacks import ATTACKS, run_attack
from comdefend.common import extras
from comdefend.errors import ExtraMissingError
from comdefend.evaluation.loading import build_experiment
from tests.attacks.tiny import accuracy, tiny_batch, tiny_classifier

TOLERANCE = 0.05
"""How far the robust accuracies that two libraries find may lie apart: 1 of 20 images."""


@pytest.mark.parametrize("name", ["bim", "pgd"])
def test_two_libraries_leave_the_same_accuracy_within_eps(fashion, name):
    images, labels = fashion.images[:40], fashion.labels[:40]
    first, second = (
        accuracy(
            fashion.classifier, run_attack(fashion.classifier, images, labels, by, 3, 5), labels
        )
        for by in (name, f"art-{name}")
    )
    assert 0.4 < first < 0.85
    assert first == pytest.approx(second, abs=TOLERANCE)


def changes(model, images, labels, attack, steps):
    """Return the size in L2 of the change that misleads a model, infinite where there is none."""
    attacked = run_attack(model, images, labels, attack, None, steps, rounded=False)
    with torch.no_grad():
        fooled = model(attacked).argmax(1) != labels
    return torch.where(fooled, (attacked - images).flatten(1).norm(dim=1), torch.inf)


def test_two_libraries_find_the_same_way_to_the_boundary(fashion):
    images, labels = fashion.images[:20], fashion.labels[:20]
    first, second = (
        changes(fashion.classifier, images, labels, by, 30) for by in ("deepfool", "art-deepfool")
    )
    for radius in (0.2, 0.4, 0.8):
        robust = [(size > radius).float().mean().item() for size in (first, second)]
        assert robust[0] == pytest.approx(robust[1], abs=TOLERANCE), radius
    assert first.median().item() == pytest.approx(second.median().item(), rel=0.01)


def test_two_libraries_break_the_same_images_by_cw(fashion):
    """ART's descent is the weaker one: of the size that misleads it finds an upper bound."""
    images, labels = fashion.images[:6], fashion.labels[:6]
    first, second = (
        changes(fashion.classifier, images, labels, by, steps)
        for by, steps in (("cw", 60), ("art-cw", 5))
    )
    robust = [size.isinf().float().mean().item() for size in (first, second)]
    assert robust[0] == pytest.approx(robust[1], abs=TOLERANCE)
    assert first.median() <= second.median() <= 6 * first.median()


class Plane(nn.Module):
    """Two classes on either side of a hyperplane."""

    def __init__(self, normal, offset):
        super().__init__()
        self.normal, self.offset = normal / normal.norm(), offset
        self.eval()

    def side(self, images):
        return (images * self.normal).flatten(1).sum(1) - self.offset

    def forward(self, images):
        return torch.stack([self.side(images), -self.side(images)], 1)


@pytest.mark.parametrize(("attack", "excess"), [("art-deepfool", 1.03), ("art-cw", 1.1)])
def test_a_linear_model_is_left_by_the_shortest_way(attack, excess):
    images, _ = tiny_batch(tiny_classifier())
    normal = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plane = Plane(normal, 0.0)
    plane.offset = plane.side(images).min().item() - 0.1
    distances = plane.side(images)
    sizes = changes(plane, images, torch.zeros(4, dtype=torch.int64), attack, None)
    assert (sizes >= distances - 1e-4).all()
    assert (sizes <= excess * distances + 1e-3).all()


def test_every_attack_says_which_library_runs_it():
    libraries = {name: attack.library for name, attack in ATTACKS.items()}
    assert set(libraries.values()) == {"Foolbox", "pyautoattack", "ART", "comdefend"}
    for name in ("bim", "pgd", "deepfool", "cw"):
        assert (libraries[name], libraries[f"art-{name}"]) == ("Foolbox", "ART")


def test_numpys_generator_is_seeded_and_left_as_it_was():
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    first, again, other = (
        run_attack(model, images, labels, "art-pgd", 4, 2, seed=seed, rounded=False)
        for seed in (1, 1, 2)
    )
    assert (np.random.get_state()[1] == state).all()
    assert first.equal(again)
    assert not first.equal(other)


def test_an_image_that_is_wrong_already_stays_as_it_is():
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    labels = labels.clone()
    labels[0] = (labels[0] + 1) % 5
    attacked = run_attack(model, images, labels, "art-deepfool", rounded=False)
    assert attacked[0].equal(images[0])
    assert accuracy(model, attacked, labels) == 0


def test_a_missing_library_is_named_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    values = {
        "name": "a", "title": "a", "data": "memory", "classifier": "a", "defenses": ["none"],
        "adaptive": [{"attack": "art-bim", "eps": [8]}],
    }  # fmt: skip
    with pytest.raises(ExtraMissingError, match=r"art is not installed.*comdefend\[art\]"):
        build_experiment(values, "test")
