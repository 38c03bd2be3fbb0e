"""What `run_attack` does for every attack."""

import pytest
import torch
import torch.nn.functional as F

from comdefend.attacks import ATTACKS, Attack, check_eps, run_attack
from comdefend.errors import InputError, InputTypeError
from tests.attacks.tiny import tiny_batch, tiny_classifier


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


@pytest.mark.parametrize("attack", [a.name for a in ATTACKS.values() if "step_size" in a.settings])
def test_a_small_step_size_keeps_the_attack_near_the_images(attack):
    model = tiny_classifier()
    images, labels = tiny_batch(model)
    sizes = {"step_size": 2, "rounded": False}
    attacked = run_attack(model, images, labels, attack, 20, 3, **sizes)
    moved = (attacked - images).abs().max() * 255
    # PGD's start alone may lie anywhere in the ball.
    assert moved <= (20 if attack.endswith("pgd") else 6) + 1e-3
    assert not attacked.equal(run_attack(model, images, labels, attack, 20, 3, rounded=False))


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
        ({"attack": "deepfool", "confidence": 1}, "deepfool takes no confidence"),
        ({"attack": "deepfool", "overshoot": -1}, "overshoot must be a number from 0: -1"),
        ({"attack": "cw", "confidence": float("nan")}, "confidence must be a number from 0: nan"),
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
