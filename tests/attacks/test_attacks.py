"""Every attack of the registry, on networks small enough that each takes a moment."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import comdefend
from comdefend.attacks import ATTACKS, Attack, check_eps, run_attack
from comdefend.data.shipped import fashion_images
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError, InputTypeError

# Enough for a network of 8x8 pixels.
FEW_STEPS = {"cw": 20, "hopskipjump": 2, "square": 50}
QUERY = [name for name, attack in ATTACKS.items() if attack.kind == "query"]


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def loss(model, images, labels):
    with torch.no_grad():
        return F.cross_entropy(model(images), labels).item()


def tiny_classifier(classes=5):
    torch.manual_seed(classes)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ELU(), nn.Flatten(), nn.Linear(256, classes)
    return nn.Sequential(*layers).eval()


def tiny_batch(model, count=4):
    """8-bit images away from black and white, with the labels that the model gives them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(60, 196, (count, 1, 8, 8), generator=generator) / 255
    with torch.no_grad():
        return images, model(images).argmax(1)


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


@pytest.mark.parametrize("attack", ["cw", "deepfool", "hopskipjump", "square"])
def test_an_attack_that_fails_returns_the_images(attack):
    images, _ = tiny_batch(tiny_classifier())
    labels = torch.zeros(len(images), dtype=torch.int64)
    steps = FEW_STEPS.get(attack)
    attacked = run_attack(Deaf().eval(), images, labels, attack, 20, steps, rounded=False)
    torch.testing.assert_close(attacked, images)


@pytest.mark.parametrize("attack", ["fgsm", "bim", "pgd", "mi-fgsm"])
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
    for attack, same in (("bim", True), ("mi-fgsm", True), ("pgd", False)):
        first, second = (
            run_attack(model, images, labels, attack, 4, 3, seed=seed, rounded=False)
            for seed in (5, 6)
        )
        assert first.equal(second) == same


def test_the_single_step_of_fast_adversarial_training():
    """Wong et al. 2020: from a random start, a step of 1.25 eps, back into the ball."""
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    attacked = run_attack(model, images, labels, "pgd", 8, 1, step_size=10, seed=4, rounded=False)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        start = images + (2 * torch.rand(images.shape) - 1) * 8 / 255
    start.requires_grad_()
    F.cross_entropy(model(start), labels, reduction="sum").backward()
    step = start.detach() + 10 / 255 * start.grad.sign()
    expected = images + (step - images).clamp(-8 / 255, 8 / 255)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", [a.name for a in ATTACKS.values() if a.takes_step_size])
def test_a_small_step_size_keeps_the_attack_near_the_images(attack):
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    sizes = {"step_size": 2, "rounded": False}
    attacked = run_attack(model, images, labels, attack, 20, 3, **sizes)
    moved = (attacked - images).abs().max() * 255
    # PGD's start alone may lie anywhere in the ball.
    assert moved <= (20 if attack == "pgd" else 6) + 1e-3
    assert not attacked.equal(run_attack(model, images, labels, attack, 20, 3, rounded=False))


@pytest.mark.parametrize(("attack", "excess"), [("deepfool", 1.03), ("cw", 1.5)])
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
    attacked = run_attack(Unhelpful(model).eval(), images, labels, attack, 20, FEW_STEPS.get(attack))
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


def test_an_attack_leaves_the_model_as_it_was():
    model = tiny_classifier()
    model[0].weight.requires_grad_(False)
    run_attack(model, *tiny_batch(model), "fgsm", 4)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]


def test_attacks_work_where_gradients_are_off():
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    expected = run_attack(model, images, labels, "pgd", 8, 2)
    with torch.no_grad():
        assert run_attack(model, images, labels, "pgd", 8, 2).equal(expected)
    with torch.inference_mode():
        copies = images.clone(), labels.clone()
        assert run_attack(model, *copies, "pgd", 8, 2).equal(expected)


def test_attacking_the_defended_classifier_is_adaptive(shipped):
    classifier, images, labels = shipped
    images, labels = images[:4], labels[:4]
    defended = DefendedClassifier(comdefend.load("gray-4bpp"), classifier)
    oblivious, adaptive = (
        run_attack(model, images, labels, "pgd", 16, 5) for model in (classifier, defended)
    )
    assert loss(defended, adaptive, labels) > loss(defended, oblivious, labels)


def test_a_record_of_ones_own_can_be_run():
    def run(model, images, labels, budget):
        assert (budget.steps, budget.step_size, budget.seed, budget.random) == (7, None, 5, True)
        return images + 1

    attack = Attack(
        name="white", title="White", norm="L2", kind="query", about="all white", steps=7, run=run
    )
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    white = run_attack(model, images, labels, attack, seed=5, random=True)
    assert white.eq(1).all()
    clipped = run_attack(model, images, labels, attack, 3, seed=5, random=True, rounded=False)
    torch.testing.assert_close(clipped, images + 3 / 255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "fgsm", "eps": 0}, "eps is in units of 1/255, above 0 and at most 255: 0"),
        ({"attack": "fgsm", "eps": 300}, "eps is in units of 1/255"),
        ({"attack": "cw", "eps": float("nan")}, "eps is in units of 1/255"),
        ({"attack": "pgd", "eps": 8 / 255}, r"eps is in units of 1/255, .* write 8$"),
        ({"attack": "deepfool", "eps": 0.499}, "eps is in units of 1/255, .* write 127.2$"),
        ({"attack": "square"}, "square needs eps, .* units of 1/255"),
        ({"attack": "pgd", "eps": 8, "steps": 0}, "steps must be at least 1: 0"),
        ({"attack": "fgsm", "eps": 8, "step_size": 2}, "fgsm takes no step_size"),
        ({"attack": "pgd", "eps": 8, "step_size": -1}, "step_size is in units of 1/255, above 0"),
        ({"attack": "pgd", "eps": 8, "step_size": 2 / 255}, "step_size is in .* hardly move"),
    ],
)
def test_bad_use(options, message):
    model = tiny_classifier()
    with pytest.raises(InputError, match=message) as raised:
        run_attack(model, *tiny_batch(model), **options)
    assert "\n" not in str(raised.value)


def test_eps_may_be_small_as_long_as_its_unit_is_clear():
    check_eps(0.5)
    check_eps(255)
    with pytest.raises(InputError, match="attack_eps is in units of 1/255"):
        check_eps(0.1, "attack_eps")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x * 255, y), InputError, r"must lie in \[0, 1\]"),
        (lambda x, y: (x * torch.nan, y), InputError, r"must lie in \[0, 1\]"),
        (lambda x, y: (x[0], y), InputError, r"shape \(N, C, H, W\)"),
        (lambda x, y: (x[:0], y[:0]), InputError, "not empty"),
        (lambda x, y: ((x * 255).byte(), y), InputTypeError, "must be float"),
        (lambda x, y: (x, y.int()), InputTypeError, "must be int64"),
        (lambda x, y: (x, y[:-1]), InputError, r"labels: must have shape \(4,\), not \(3,\)"),
    ],
)
def test_bad_images_and_labels(change, error, message):
    model = tiny_classifier()
    with pytest.raises(error, match=message):
        run_attack(model, *change(*tiny_batch(model)), "fgsm", 8)


def test_bad_models():
    model = tiny_classifier()
    batch = tiny_batch(model)
    with pytest.raises(InputError, match="training mode"):
        run_attack(model.train(), *batch, "fgsm", 8)
    with pytest.raises(InputTypeError, match=r"must be an nn\.Module, not function"):
        run_attack(lambda x: x, *batch, "fgsm", 8)
