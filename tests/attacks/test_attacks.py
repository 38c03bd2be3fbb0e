"""Every attack of the registry, on networks small enough that each takes a moment."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import comdefend
from comdefend.attacks import ATTACKS, run_attack
from comdefend.data.shipped import fashion_images
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError
from tests.attacks.tiny import accuracy, loss, tiny_batch, tiny_classifier

# Enough for a network of 8x8 pixels.
FEW_STEPS = {"art-cw": 3, "cw": 20, "hopskipjump": 2, "square": 50}
QUERY = [name for name, attack in ATTACKS.items() if attack.kind == "query"]


class Line(nn.Module):
    """Two classes on either side of a hyperplane, at a known distance from each image."""

    def __init__(self, normal, images, distances):
        super().__init__()
        self.normal = normal / normal.norm()
        self.offsets = (images * self.normal).flatten(1).sum(1) - distances
        self.eval()

    def forward(self, images):
        side = (images * self.normal).flatten(1).sum(1) - self.offsets[: len(images)]
        return torch.stack([side, -side], 1)


class Deaf(nn.Module):
    """Gives every image the class 0, and gradients of 0."""

    def forward(self, images):
        return F.pad(images.flatten(1)[:, :4] * 0, (1, 0), value=1.0)


class Unhelpful(nn.Module):
    """Answers, but has no gradients."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    @torch.no_grad()
    def forward(self, images):
        return self.model(images)


class Noisy(nn.Module):
    """Adds noise to images before it classifies them."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images + 0.02 * torch.randn_like(images))


@pytest.fixture(scope="module")
def shipped():
    """A shipped classifier, with eight images that it classifies correctly."""
    classifier = comdefend.load_classifier("fashion-mnist-small")
    images, labels = fashion_images()
    images, labels = images[:16].float() / 255, labels[:16]
    with torch.no_grad():
        right = classifier(images).argmax(1) == labels
    return classifier, images[right][:8], labels[right][:8]


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_breaks_images_within_its_ball_and_leaves_no_trace(attack, capsys):
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    attacked = run_attack(model, images, labels, attack, 20, FEW_STEPS.get(attack), seed=3)
    assert torch.get_rng_state().equal(state)
    assert (attacked - images).abs().max() * 255 <= 20 + 1e-3
    torch.testing.assert_close(attacked * 255, (attacked * 255).round(), atol=1e-4, rtol=0)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert accuracy(model, images, labels) == 1
    assert accuracy(model, attacked, labels) < 1
    torch.manual_seed(2)
    again = run_attack(model, images, labels, attack, 20, FEW_STEPS.get(attack), seed=3)
    assert attacked.equal(again)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "attack", ["art-cw", "art-deepfool", "cw", "deepfool", "hopskipjump", "square"]
)
def test_an_attack_that_fails_returns_the_images(attack):
    images, _ = tiny_batch(tiny_classifier())
    labels = torch.zeros(len(images), dtype=torch.int64)
    steps = FEW_STEPS.get(attack)
    attacked = run_attack(Deaf().eval(), images, labels, attack, 20, steps, rounded=False)
    torch.testing.assert_close(attacked, images)


@pytest.mark.parametrize("attack", ["fgsm", "bim", "pgd", "mi-fgsm", "art-bim", "art-pgd"])
def test_on_a_linear_model_a_step_along_the_sign_is_optimal(attack):
    images, _ = tiny_batch(tiny_classifier())
    normal = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = Line(normal, images, torch.full((4,), 0.1))
    labels = torch.zeros(4, dtype=torch.int64)
    attacked = run_attack(model, images, labels, attack, 4, 40, rounded=False)
    torch.testing.assert_close(attacked, images - 4 / 255 * normal.sign(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("attack", ["bim", "pgd", "mi-fgsm"])
def test_many_steps_are_stronger_than_one_and_a_larger_eps_than_a_small_one(shipped, attack):
    model, images, labels = shipped
    one_step, small, large = (
        loss(model, run_attack(model, images, labels, name, eps, 8), labels)
        for name, eps in (("fgsm", 8), (attack, 8), (attack, 255))
    )
    assert loss(model, images, labels) < one_step < small < large
    broken = run_attack(model, images, labels, attack, 255)
    assert accuracy(model, broken, labels) == 0


def test_only_pgd_starts_at_random():
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    for attack, same in (
        ("bim", True), ("mi-fgsm", True), ("pgd", False), ("art-bim", True), ("art-pgd", False),
    ):  # fmt: skip
        first, second = (
            run_attack(model, images, labels, attack, 4, 3, seed=seed, rounded=False)
            for seed in (5, 6)
        )
        assert first.equal(second) == same


@pytest.mark.parametrize(
    ("attack", "excess"), [("deepfool", 1.03), ("art-deepfool", 1.03), ("cw", 1.5)]
)
def test_attacks_for_the_smallest_change_go_straight_to_the_boundary(attack, excess):
    images, _ = tiny_batch(tiny_classifier())
    normal = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    distances = torch.tensor([0.05, 0.1, 0.2, 0.4])
    model = Line(normal, images, distances)
    labels = torch.zeros(4, dtype=torch.int64)
    attacked = run_attack(model, images, labels, attack, rounded=False)
    assert accuracy(model, attacked, labels) == 0
    size = (attacked - images).flatten(1).norm(dim=1)
    assert (size >= distances - 1e-4).all()
    assert (size <= excess * distances + 1e-3).all()


def test_attacks_for_the_smallest_change_go_beyond_the_boundary_where_they_are_told_to():
    images, _ = tiny_batch(tiny_classifier())
    normal = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    distances = torch.tensor([0.05, 0.1, 0.2, 0.4])
    model = Line(normal, images, distances)
    labels = torch.zeros(4, dtype=torch.int64)
    twice = run_attack(model, images, labels, "deepfool", overshoot=1, rounded=False)
    torch.testing.assert_close(
        (twice - images).flatten(1).norm(dim=1), 2 * distances, rtol=0.01, atol=1e-3
    )
    ahead = run_attack(model, images, labels, "cw", confidence=0.5, rounded=False)
    # The logits of the two classes differ by twice the distance from the boundary.
    margins = model(ahead).diff(dim=1).flatten()
    assert (margins >= 0.5 - 1e-4).all()
    assert (margins <= 0.8).all()


@pytest.mark.parametrize("attack", ["deepfool", "cw"])
def test_clipping_undoes_smallest_changes(attack):
    images, _ = tiny_batch(tiny_classifier())
    labels = torch.zeros(4, dtype=torch.int64)
    # One pixel needs a change of 5/255, the others hardly any.
    normal = torch.full((1, 1, 8, 8), 0.01)
    normal[..., 3, 4] = 1
    model = Line(normal, images, torch.full((4,), 5 / 255))
    free, clipped = (
        run_attack(model, images, labels, attack, eps, rounded=False) for eps in (None, 2)
    )
    assert accuracy(model, free, labels) == 0
    assert accuracy(model, clipped, labels) == 1
    assert (clipped - images).abs().max() * 255 <= 2 + 1e-3
    inside = (free - images).abs() < 2 / 255 - 1e-6
    assert clipped[inside].equal(free[inside])


def test_rounding_undoes_smallest_changes():
    images, _ = tiny_batch(tiny_classifier())
    labels = torch.zeros(4, dtype=torch.int64)
    # A tenth of 1/255 in every pixel.
    model = Line(torch.ones(1, 1, 8, 8), images, torch.full((4,), 0.1 * 8 / 255))
    free, rounded = (
        run_attack(model, images, labels, "deepfool", rounded=rounded) for rounded in (False, True)
    )
    assert accuracy(model, free, labels) == 0
    torch.testing.assert_close(rounded, images)


@pytest.mark.parametrize("attack", QUERY)
def test_query_attacks_need_no_gradients(attack):
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    attacked = run_attack(
        Unhelpful(model).eval(), images, labels, attack, 20, FEW_STEPS.get(attack)
    )
    assert accuracy(model, attacked, labels) < 1


def test_hopskipjump_counts_only_within_eps():
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    wide = run_attack(model, images, labels, "hopskipjump", 255, 1, rounded=False)
    assert accuracy(model, wide, labels) == 0
    size = (wide - images).abs().flatten(1).amax(1) * 255
    eps = size.median().item()
    narrow = run_attack(model, images, labels, "hopskipjump", eps, 1, rounded=False)
    assert narrow[size <= eps].equal(wide[size <= eps])
    assert narrow[size > eps].equal(images[size > eps])
    assert (size > eps).any()


def test_hopskipjump_starts_from_other_images_where_noise_keeps_the_label():
    class DarkOrBright(nn.Module):
        def forward(self, images):
            mean = images.flatten(1).mean(1)
            return torch.stack([mean, torch.full_like(mean, 0.2)], 1)

    images = torch.cat([torch.full((1, 1, 8, 8), 0.3), torch.full((1, 1, 8, 8), 0.1)])
    labels = torch.tensor([0, 1])
    model = DarkOrBright().eval()
    attacked = run_attack(model, images, labels, "hopskipjump", 100, 1, rounded=False)
    assert attacked[0].mean() <= 0.2 <= attacked[1].mean()


def test_hopskipjump_refuses_a_model_with_random_answers():
    assert [a.name for a in ATTACKS.values() if a.deterministic_only] == ["hopskipjump"]
    model = tiny_classifier()
    with pytest.raises(InputError, match="answers are random"):
        run_attack(Noisy(model).eval(), *tiny_batch(model), "hopskipjump", 8, 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_autoattack_works_with_few_classes(classes):
    model = tiny_classifier(classes)
    images, labels = tiny_batch(model)
    assert accuracy(model, run_attack(model, images, labels, "autoattack", 60), labels) == 0


def test_autoattack_averages_over_a_random_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    images, labels = tiny_batch(model, 2)
    attacked = run_attack(Noisy(model).eval(), images, labels, "autoattack", 60, random=True)
    assert accuracy(model, attacked, labels) == 0


@pytest.mark.slow
def test_autoattack_is_at_least_as_strong_as_pgd():
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    for eps in (2, 5, 10):
        pgd, auto = (run_attack(model, images, labels, name, eps) for name in ("pgd", "autoattack"))
        assert accuracy(model, auto, labels) <= accuracy(model, pgd, labels)


def test_attacking_the_defended_classifier_is_adaptive(shipped):
    classifier, images, labels = shipped
    images, labels = images[:4], labels[:4]
    defended = DefendedClassifier(comdefend.load("gray-4bpp"), classifier)
    oblivious, adaptive = (
        run_attack(model, images, labels, "pgd", 16, 5) for model in (classifier, defended)
    )
    assert loss(defended, adaptive, labels) > loss(defended, oblivious, labels)
