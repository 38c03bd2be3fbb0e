import pytest
import torch
from torch import nn

from comdefend.attacks import ATTACKS, perturb
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError, InputTypeError

# Enough for a network of 8x8 pixels.
FEW_STEPS = {"cw": 20, "hopskipjump": 2, "square": 50}
QUERY = [name for name, attack in ATTACKS.items() if attack.kind == "query"]


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def tiny_classifier(classes):
    torch.manual_seed(classes)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ELU(), nn.Flatten(), nn.Linear(256, classes)
    return nn.Sequential(*layers).eval()


def tiny_batch(model, count=4):
    """8-bit images away from black and white, with the labels that the model gives them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(60, 196, (count, 1, 8, 8), generator=generator) / 255
    with torch.no_grad():
        return images, model(images).argmax(1)


class Deaf(nn.Module):
    """Gives every image the class 0, and gradients of 0."""

    def forward(self, images):
        return nn.functional.pad(images.flatten(1)[:, :4] * 0, (1, 0), value=1.0)


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
def batch(fashion):
    labels = fashion.labels
    return fashion.images[:40], labels[:40]


@pytest.fixture(scope="module")
def few(batch):
    return batch[0][:5], batch[1][:5]


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_breaks_images_within_its_ball_and_leaves_no_trace(attack, capsys):
    model = tiny_classifier(5)
    images, labels = tiny_batch(model)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = perturb(model, images, labels, attack, 20, FEW_STEPS.get(attack), seed=3)
    assert torch.get_rng_state().equal(state)
    assert (found - images).abs().max() * 255 <= 20 + 1e-3
    torch.testing.assert_close(found * 255, (found * 255).round(), atol=1e-4, rtol=0)
    assert 0 <= found.min() <= found.max() <= 1
    assert accuracy(model, images, labels) == 1
    assert accuracy(model, found, labels) < 1
    torch.manual_seed(2)
    again = perturb(model, images, labels, attack, 20, FEW_STEPS.get(attack), seed=3)
    assert found.equal(again)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("attack", ["cw", "deepfool", "hopskipjump", "square"])
def test_an_attack_that_finds_nothing_returns_the_images(attack):
    images, _ = tiny_batch(tiny_classifier(5))
    labels = torch.zeros(len(images), dtype=torch.int64)
    found = perturb(Deaf().eval(), images, labels, attack, 20, FEW_STEPS.get(attack), rounded=False)
    torch.testing.assert_close(found, images)


def test_attacks_break_the_classifier_and_more_of_it_with_more_effort(fashion, batch):
    clean = accuracy(fashion.classifier, *batch)
    scores = [
        accuracy(fashion.classifier, perturb(fashion.classifier, *batch, name, eps, 10), batch[1])
        for name, eps in (("fgsm", 8), ("pgd", 8), ("pgd", 255))
    ]
    assert clean > 0.85
    assert clean > scores[0] >= scores[1] >= scores[2]
    assert scores[2] == 0


@pytest.mark.parametrize("attack", ["bim", "mi-fgsm"])
def test_iterated_attacks_are_stronger_than_one_step(fashion, batch, attack):
    model, labels = fashion.classifier, batch[1]
    one_step = accuracy(model, perturb(model, *batch, "fgsm", 8), labels)
    assert accuracy(model, perturb(model, *batch, attack, 8), labels) < one_step


def test_only_pgd_starts_at_random(fashion, few):
    for attack, same in (("bim", True), ("mi-fgsm", True), ("pgd", False)):
        first, second = (
            perturb(fashion.classifier, *few, attack, 4, 3, seed=seed) for seed in (5, 6)
        )
        assert first.equal(second) == same


@pytest.mark.parametrize("attack", ["deepfool", "cw"])
def test_minimum_norm_attacks_break_all_with_little(fashion, few, attack):
    images, labels = few
    found = perturb(fashion.classifier, images, labels, attack, steps=50, rounded=False)
    assert accuracy(fashion.classifier, found, labels) == 0
    size = (found - images).flatten(1).norm(dim=1)
    assert size.max() < 2
    # FGSM at 8/255 is of norm 0.6 to 0.9 here, and breaks fewer.
    fgsm = perturb(fashion.classifier, images, labels, "fgsm", 8)
    assert size.mean() < (fgsm - images).flatten(1).norm(dim=1).mean()


def test_rounding_and_clipping_undo_minimal_perturbations(fashion, batch):
    model, (images, labels) = fashion.classifier, (x[8:13] for x in batch)
    raw = perturb(model, images, labels, "deepfool", rounded=False)
    rounded = perturb(model, images, labels, "deepfool")
    clipped = perturb(model, images, labels, "deepfool", 2, rounded=False)
    assert accuracy(model, raw, labels) == 0
    assert accuracy(model, rounded, labels) > 0
    torch.testing.assert_close(rounded, raw, rtol=0, atol=0.5 / 255 + 1e-6)
    assert accuracy(model, clipped, labels) > 0
    assert (clipped - images).abs().max() * 255 <= 2 + 1e-3
    inside = (raw - images).abs() < 2 / 255 - 1e-6
    assert clipped[inside].equal(raw[inside])


@pytest.mark.parametrize("attack", QUERY)
def test_query_attacks_need_no_gradients(attack):
    model = tiny_classifier(5)
    images, labels = tiny_batch(model)
    found = perturb(Unhelpful(model).eval(), images, labels, attack, 20, FEW_STEPS[attack])
    assert accuracy(model, found, labels) < 1


def test_hopskipjump_counts_only_within_eps(fashion, few):
    images, labels = few
    wide = perturb(fashion.classifier, images, labels, "hopskipjump", 255, 1, rounded=False)
    assert accuracy(fashion.classifier, wide, labels) == 0
    size = (wide - images).abs().flatten(1).amax(1) * 255
    eps = size.median().item()
    found = perturb(fashion.classifier, images, labels, "hopskipjump", eps, 1, rounded=False)
    assert found[size <= eps].equal(wide[size <= eps])
    assert found[size > eps].equal(images[size > eps])
    assert (size > eps).any()


def test_hopskipjump_starts_from_other_images_where_noise_keeps_the_label():
    class DarkOrBright(nn.Module):
        def forward(self, images):
            mean = images.flatten(1).mean(1)
            return torch.stack([mean, torch.full_like(mean, 0.2)], 1)

    images = torch.cat([torch.full((1, 1, 8, 8), 0.3), torch.full((1, 1, 8, 8), 0.1)])
    labels = torch.tensor([0, 1])
    found = perturb(DarkOrBright().eval(), images, labels, "hopskipjump", 100, 1, rounded=False)
    assert found[0].mean() <= 0.2 <= found[1].mean()


def test_hopskipjump_refuses_a_model_whose_answers_are_random():
    model = tiny_classifier(5)
    with pytest.raises(InputError, match="answers are random"):
        perturb(Noisy(model).eval(), *tiny_batch(model), "hopskipjump", 8, 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_autoattack_works_with_few_classes(classes):
    model = tiny_classifier(classes)
    images, labels = tiny_batch(model)
    assert accuracy(model, perturb(model, images, labels, "autoattack", 60), labels) == 0


def test_autoattack_averages_over_a_random_model():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    images, labels = tiny_batch(model, 2)
    found = perturb(Noisy(model).eval(), images, labels, "autoattack", 60, random=True)
    assert accuracy(model, found, labels) == 0


@pytest.mark.slow
def test_autoattack_is_at_least_as_strong_as_pgd():
    model = tiny_classifier(5)
    images, labels = tiny_batch(model)
    for eps in (2, 5, 10):
        pgd, auto = (perturb(model, images, labels, name, eps) for name in ("pgd", "autoattack"))
        assert accuracy(model, auto, labels) <= accuracy(model, pgd, labels)


def test_an_attack_depends_on_its_seed_alone(fashion, batch):
    torch.manual_seed(1)
    first = perturb(fashion.classifier, *batch, "pgd", 4, 3, seed=5)
    state = torch.get_rng_state()
    second = perturb(fashion.classifier, *batch, "pgd", 4, 3, seed=5)
    assert first.equal(second)
    assert torch.get_rng_state().equal(state)
    assert not first.equal(perturb(fashion.classifier, *batch, "pgd", 4, 3, seed=6))


def test_an_attack_leaves_the_model_as_it_was():
    model = tiny_classifier(5)
    model[0].weight.requires_grad_(False)
    perturb(model, *tiny_batch(model), "fgsm", 4)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]


def test_attacking_the_defended_classifier_is_adaptive(fashion, batch):
    images, labels = batch[0][:8], batch[1][:8]
    defended = fashion.defended
    oblivious = perturb(fashion.classifier, images, labels, "pgd", 16, 5)
    adaptive = perturb(defended, images, labels, "pgd", 16, 5)
    assert accuracy(defended, adaptive, labels) < accuracy(defended, oblivious, labels)


def test_defended_classifier_purifies_then_classifies(fashion, batch):
    defended = fashion.defended
    assert not defended.training
    with torch.no_grad():
        expected = fashion.classifier(fashion.defended.purifier(batch[0][:4]))
        torch.testing.assert_close(defended(batch[0][:4]), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "magic", "eps": 8}, "unknown attack 'magic'; known: fgsm, bim, pgd, mi-fgsm,"),
        ({"attack": "fgsm", "eps": 0}, "eps is in units of 1/255"),
        ({"attack": "fgsm", "eps": 300}, "eps is in units of 1/255"),
        ({"attack": "cw", "eps": float("nan")}, "eps is in units of 1/255"),
        ({"attack": "square"}, "square needs eps"),
        ({"attack": "pgd", "eps": 8, "steps": 0}, "steps must be at least 1"),
    ],
)
def test_bad_use(fashion, batch, options, message):
    with pytest.raises(InputError, match=message):
        perturb(fashion.classifier, *batch, **options)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x * 255, y), InputError, r"must lie in \[0, 1\]"),
        (lambda x, y: (x * torch.nan, y), InputError, r"must lie in \[0, 1\]"),
        (lambda x, y: (x[0], y), InputError, r"shape \(N, C, H, W\)"),
        (lambda x, y: (x[:0], y[:0]), InputError, "not empty"),
        (lambda x, y: ((x * 255).byte(), y), InputTypeError, "must be float"),
        (lambda x, y: (x, y.int()), InputTypeError, "must be int64"),
        (lambda x, y: (x, y[:-1]), InputError, r"labels: must have shape \(5,\), not \(4,\)"),
    ],
)
def test_bad_images_and_labels(fashion, few, change, error, message):
    with pytest.raises(error, match=message):
        perturb(fashion.classifier, *change(*few), "fgsm", 8)


def test_a_model_in_training_mode_is_refused(fashion, batch):
    fashion.classifier.train()
    try:
        with pytest.raises(InputError, match="training mode"):
            perturb(fashion.classifier, *batch, "fgsm", 8)
    finally:
        fashion.classifier.eval()
    with pytest.raises(InputTypeError, match="must be an nn"):
        DefendedClassifier(lambda x: x, fashion.classifier)
