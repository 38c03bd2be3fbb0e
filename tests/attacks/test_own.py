"""A user's own attacks: from a callable, or by name."""

import functools
import sys

import pytest
import torch
from torch import nn

from comdefend.attacks import ATTACKS, Attack, find_attack, from_callable, run_attack
from comdefend.errors import InputError, InputTypeError

OWN = """
from comdefend.attacks import Attack

def darker(model, images, labels, eps):
    return (images - eps / 255).clamp(min=0)

RECORD = Attack(name="mine", title="Mine", norm="L2", kind="query", about="nothing",
                run=lambda model, images, labels, budget: images)
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module in the current directory."""
    (tmp_path / "own_attacks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "own_attacks", raising=False)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()


IMAGES = torch.full((2, 1, 4, 4), 0.5)
LABELS = torch.tensor([0, 2])


def returning(images):
    return from_callable(lambda *given: images, "mine")


def test_a_function_is_called_with_eps_in_our_units_and_the_weights_frozen(model):
    def brighter(attacked, images, labels, eps):
        assert attacked is model
        assert labels is not None
        assert not any(p.requires_grad for p in attacked.parameters())
        assert eps == 8
        return images.add_(eps / 255)

    attack = from_callable(brighter)
    assert (attack.name, attack.norm, attack.steps) == ("brighter", "Linf", None)
    images = IMAGES.clone()
    attacked = run_attack(model, images, LABELS, attack, 8, rounded=False)
    torch.testing.assert_close(attacked, IMAGES + 8 / 255)
    assert images.equal(IMAGES)
    with pytest.raises(InputError, match="brighter needs eps"):
        run_attack(model, images, LABELS, attack)


def test_a_users_attack_by_name(own, model):
    attack = find_attack("own_attacks:darker")
    assert attack.name == "own_attacks:darker"
    expected = IMAGES - 4 / 255
    by_name = run_attack(model, IMAGES, LABELS, "own_attacks:darker", 4, rounded=False)
    torch.testing.assert_close(by_name, expected)
    assert isinstance(find_attack("own_attacks:RECORD"), Attack)
    assert find_attack("own_attacks:RECORD").name == "mine"
    for name, known in ATTACKS.items():
        assert find_attack(name) is known


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            "magic",
            InputError,
            "unknown attack 'magic'; known: fgsm, bim, pgd, .*, or package.module:",
        ),
        ("pgd:x", InputError, "unknown attack 'pgd:x'; known: "),
        ("pgd:20", InputError, "unknown attack 'pgd:20'; known: "),
        ("own_attacks:none", InputError, "own_attacks has no 'none'"),
        ("own_nowhere:attack", InputError, "importing own_nowhere failed: .*No module named"),
        ("own_attacks:number", InputTypeError, "must be a callable .* not int"),
    ],
)
def test_names_that_are_no_attack(own, spec, error, message):
    with pytest.raises(error, match=message) as raised:
        find_attack(spec)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (None, InputTypeError, "attack mine must return a tensor, not NoneType"),
        (IMAGES[0], InputError, r"shape \(2, 1, 4, 4\), not torch.float32 of \(1, 4, 4\)"),
        ((IMAGES * 255).byte(), InputError, "must return float images .* not torch.uint8"),
        (IMAGES + 0.6, InputError, r"images in \[0, 1\] without NaN, not 1.1 to 1.1"),
        (IMAGES * torch.nan, InputError, r"in \[0, 1\] without NaN"),
        (IMAGES * torch.inf, InputError, r"in \[0, 1\] without NaN"),
        (IMAGES + 9 / 255, InputError, "changed a value by 9/255, more than eps 8; .* 1/255"),
    ],
)
def test_what_comes_back_is_checked(model, result, error, message):
    with pytest.raises(error, match=message):
        run_attack(model, IMAGES, LABELS, returning(result), 8)


def test_bounds_allow_for_rounding(model):
    attacked = run_attack(model, IMAGES, LABELS, returning(IMAGES.double() + 8 / 255), 8)
    assert attacked.dtype == torch.float32
    torch.testing.assert_close(attacked, ((IMAGES + 8 / 255) * 255).round() / 255)


def test_a_function_that_fails_is_one_line_with_its_cause(model):
    def broken(model, images, labels, eps):
        raise KeyError("first\nsecond")

    with pytest.raises(InputError, match="attack broken failed: KeyError: ") as raised:
        run_attack(model, IMAGES, LABELS, from_callable(broken), 8)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value.__cause__, KeyError)


STRENGTH = 3


def helped(model, images, labels, eps):
    return helper(images)


def helper(images):
    return images * STRENGTH


def fingerprint_of(function):
    return from_callable(function).fingerprint


def closing_over(value):
    return lambda model, images, labels, eps: images * value


def stepping(model, images, labels, eps, steps=3):
    return images


class Walker:
    def __init__(self, length):
        self.length = length

    def __call__(self, model, images, labels, eps):
        return images

    def walk(self, model, images, labels, eps):
        return images


def test_fingerprints_follow_what_a_function_depends_on(monkeypatch):
    torch.manual_seed(0)
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        twin = nn.Linear(2, 2)
        twin.load_state_dict(first.state_dict())
    makers = {
        "closed over": (closing_over, 1, 2),
        "weights": (closing_over, first, second),
        "tensors": (closing_over, torch.zeros(2), torch.ones(2)),
        "partial": (lambda steps: functools.partial(stepping, steps=steps), 1, 2),
        "object": (Walker, 1, 2),
        "method": (lambda length: Walker(length).walk, 1, 2),
    }
    for make, one, other in makers.values():
        assert fingerprint_of(make(one)) == fingerprint_of(make(one))
        assert fingerprint_of(make(one)) != fingerprint_of(make(other))
    assert fingerprint_of(closing_over(first)) == fingerprint_of(closing_over(twin))
    before = fingerprint_of(helped)
    assert before == fingerprint_of(helped)
    monkeypatch.setitem(globals(), "STRENGTH", 4)
    assert fingerprint_of(helped) != before


def test_the_fingerprint_of_a_module_is_that_of_its_weights():
    class Generator(nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.layer = nn.Conv2d(1, 1, 1)

        def forward(self, model, images, labels, eps):
            return images

    assert fingerprint_of(Generator(1)) == fingerprint_of(Generator(1))
    assert fingerprint_of(Generator(1)) != fingerprint_of(Generator(2))
