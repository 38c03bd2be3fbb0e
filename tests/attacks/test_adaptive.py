import pytest
import torch
from torch import nn

from comdefend.attacks import STAND_INS, Expectation, run_attack, with_stand_in
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError, InputTypeError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

PHI = 3.0


@pytest.fixture
def purifier():
    """Two convolutions each way, logits some ten wide, in float64."""
    torch.manual_seed(0)
    config = PurifierConfig(
        channels=1, encoder_widths=(3,), decoder_widths=(3,), code_maps=2, downscale=2, phi=PHI
    )
    purifier = ComDefend(config).double().eval()
    with torch.no_grad():
        purifier.encoder.layers[-1].weight.mul_(50)
    return purifier


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, 5, 6, generator=generator, dtype=torch.float64)


def gradient(module, images):
    images = images.clone().requires_grad_()
    out = module(images)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return torch.autograd.grad((out * weights).sum(), images)[0]


def by_hand(purifier, images, factor):
    """Chain rule in three parts: decoder at the hard code, factor, encoder."""
    images = images.clone().requires_grad_()
    logits = purifier.logits(images)
    code = (logits > 0).to(logits.dtype).detach().requires_grad_()
    out = purifier.decode(code, size=images.shape[-2:])
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    at_code = torch.autograd.grad((out * weights).sum(), code)[0]
    return torch.autograd.grad(logits, images, at_code * factor(logits.detach()))[0]


def bell(logits, width=1.0):
    """The derivative of width * sigmoid(z / width), in another form."""
    return 1 / (2 * torch.cosh(logits / width / 2)) ** 2


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_changes_no_output(purifier, images, name):
    stand_in = with_stand_in(purifier, name)
    with torch.no_grad():
        expected = purifier(images)
        assert stand_in(images).equal(expected)
    assert stand_in(images.clone().requires_grad_()).detach().equal(expected)
    assert not stand_in.training


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_changes_no_output_of_shipped_weights(fashion, name):
    images = fashion.images[:1]
    stand_in = with_stand_in(fashion.defended.purifier, name)
    with torch.no_grad():
        expected = fashion.defended.purifier(images)
    assert stand_in(images.clone().requires_grad_()).detach().equal(expected)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("identity", torch.ones_like),
        ("sigmoid-1", bell),
        ("sigmoid-10", lambda z: bell(z, 10)),
        ("sigmoid-100", lambda z: bell(z, 100)),
    ],
)
def test_gradients_follow_the_chain_rule(purifier, images, name, factor):
    found = gradient(with_stand_in(purifier, name), images)
    assert (found != 0).all()
    torch.testing.assert_close(found, by_hand(purifier, images, factor))


def test_noisy_is_the_gradient_of_the_training_code(purifier, images):
    stand_in = with_stand_in(purifier, "noisy")
    torch.manual_seed(5)
    first, second = gradient(stand_in, images), gradient(stand_in, images)
    assert not first.equal(second)
    torch.manual_seed(5)
    noise = PHI * torch.stack([torch.randn_like(purifier.logits(images)) for _ in range(20)])
    expected = by_hand(purifier, images, lambda z: bell(z - noise).mean(0))
    torch.testing.assert_close(first, expected)


def test_the_mean_of_noisy_is_the_slope_of_the_mean_code(purifier, images):
    draws = 50  # of 20 each
    torch.manual_seed(0)
    mean = gradient(Expectation(with_stand_in(purifier, "noisy"), draws), images)
    # The slope of E[sigmoid(z - n)], by quadrature over n.
    noise = torch.linspace(-8, 8, 2001, dtype=torch.float64) * PHI
    density = torch.softmax(-((noise / PHI) ** 2) / 2, 0)
    expected = by_hand(
        purifier, images, lambda z: (bell(z.unsqueeze(-1) - noise) * density).sum(-1)
    )
    torch.testing.assert_close(mean, expected, rtol=0, atol=expected.abs().max().item() * 0.2)


@pytest.mark.parametrize("sign", [1, -1])
def test_slopes_of_decided_bits_do_not_vanish_early(sign):
    config = PurifierConfig(
        channels=1, encoder_widths=(3,), decoder_widths=(3,), code_maps=1, downscale=1, phi=0.0
    )
    purifier = ComDefend(config).eval()
    images = torch.full((1, 1, 3, 3), 0.5)
    for size, names in ((60, STAND_INS), (600, ("identity", "sigmoid-10", "sigmoid-100"))):
        with torch.no_grad():
            purifier.encoder.layers[-1].bias.fill_(sign * size)
        for name in names:
            assert (gradient(with_stand_in(purifier, name), images) != 0).all()
    # What the documentation warns of.
    assert (gradient(with_stand_in(purifier, "sigmoid-1"), images) == 0).all()


@pytest.mark.parametrize("name", ["identity", "sigmoid-10", "sigmoid-100"])
def test_shipped_weights_have_a_gradient_at_every_pixel(fashion, name):
    defended = DefendedClassifier(
        with_stand_in(fashion.defended.purifier, name), fashion.classifier
    )
    assert (gradient(defended, fashion.images[:2]) != 0).float().mean() > 0.99


def test_a_stand_in_can_be_attacked_through(fashion):
    images, defended = fashion.images[:3], fashion.defended
    with torch.no_grad():
        labels = defended(images).argmax(1)
    purifier = with_stand_in(defended.purifier, "sigmoid-100")
    attacked = DefendedClassifier(purifier, fashion.classifier)
    moved = run_attack(attacked, images, labels, "pgd", 16, 4)
    with torch.no_grad():
        before, after = (nn.functional.cross_entropy(defended(x), labels) for x in (images, moved))
    assert after > before


def test_stand_ins_of_other_purifiers(purifier):
    blur = nn.AvgPool2d(3, 1, 1).eval()
    assert with_stand_in(blur, "identity") is blur
    with pytest.raises(InputError, match="AvgPool2d has only 'identity'"):
        with_stand_in(blur, "sigmoid-10")
    with pytest.raises(
        InputError, match=r"unknown stand-ins \['tanh'\]; known: identity, sigmoid-1,"
    ):
        with_stand_in(purifier, "tanh")
    with pytest.raises(InputError, match="training mode"):
        with_stand_in(purifier.train(), "noisy")
    with pytest.raises(InputTypeError, match="must be an nn"):
        with_stand_in(lambda x: x, "identity")


class Inverted(nn.Module):
    def forward(self, logits, noise=None):
        return (logits <= 0).to(logits.dtype)


def test_stand_ins_need_a_threshold(purifier):
    with pytest.raises(InputError, match="ComDefend has only 'identity'"):
        with_stand_in(purifier.with_binarizer(Inverted()), "sigmoid-10")


def test_another_stand_in_takes_the_place_of_the_first(purifier, images):
    twice = with_stand_in(with_stand_in(purifier, "sigmoid-1"), "sigmoid-10")
    once = with_stand_in(purifier, "sigmoid-10")
    assert gradient(twice, images).equal(gradient(once, images))
    assert repr(once.binarizer) == "StandIn(sigmoid-10, phi=3)"
    assert purifier.binarizer.phi == PHI


def test_forward_mode_derivatives_have_the_stand_in_too(purifier, images):
    stand_in = with_stand_in(purifier, "sigmoid-10")
    direction = torch.randn_like(images)
    _, slopes = torch.func.jvp(stand_in, (images,), (direction,))
    weights = torch.linspace(-1, 1, slopes.numel(), dtype=slopes.dtype).view_as(slopes)
    expected = (gradient(stand_in, images) * direction).sum()
    torch.testing.assert_close((slopes * weights).sum(), expected)


class Scaled(nn.Module):
    """Multiplies by 1 + n, n standard normal, one for the batch: mean 1, gradient 1 + n."""

    def forward(self, images):
        return images.flatten(1) * (1 + torch.randn(()))


def test_expectation_is_the_mean_of_its_draws():
    images = torch.rand(3, 1, 2, 2)
    torch.manual_seed(4)
    draws = 1 + torch.stack([torch.randn(()) for _ in range(7)])
    torch.manual_seed(4)
    inputs = images.clone().requires_grad_()
    logits = Expectation(Scaled(), 7)(inputs)
    torch.testing.assert_close(logits, images.flatten(1) * draws.mean())
    (slope,) = torch.autograd.grad(logits.sum(), inputs)
    torch.testing.assert_close(slope, draws.mean().expand_as(slope))


def test_expectation_converges():
    torch.manual_seed(0)
    images = torch.ones(1, 1, 2, 2)
    one, many = Expectation(Scaled(), 1), Expectation(Scaled(), 400)
    spread = torch.stack([one(images) for _ in range(50)]).std()
    # By the square root of 400.
    assert torch.stack([many(images) for _ in range(50)]).std() < spread / 10


def test_expectation_is_in_the_mode_of_its_model():
    assert Expectation(Scaled(), 2).training
    assert not Expectation(Scaled().eval(), 2).training


def test_bad_expectations():
    with pytest.raises(InputError, match="draws must be at least 1: 0"):
        Expectation(Scaled(), 0)
    with pytest.raises(InputTypeError, match="model must be an nn"):
        Expectation(lambda x: x, 2)
