"""A purifier as a composition, and inside what torch does with modules."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, jvp, vmap

from comdefend.errors import InputError, InputTypeError
from comdefend.nn.batches import fingerprint
from comdefend.nn.binarize import Threshold
from comdefend.nn.config import PurifierConfig
from comdefend.nn.denoiser import Denoiser, DenoiserConfig
from comdefend.nn.device import device_of, dtype_of
from comdefend.nn.purifier import ComDefend

CONFIG = PurifierConfig(
    encoder_widths=(6,), decoder_widths=(6,), code_maps=4, downscale=2, phi=3.0, rates=(2,)
)


@pytest.fixture
def purifier():
    torch.manual_seed(0)
    return ComDefend(CONFIG).double().eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(1)).double()


class Inverted(nn.Module):
    """A binarizer that takes zeros for ones."""

    def forward(self, logits, noise=None):
        return (logits <= 0).to(logits.dtype)


def test_parts_can_be_any_modules():
    config = PurifierConfig(channels=1, code_maps=1)
    purifier = ComDefend(config, nn.Identity(), nn.Identity(), Inverted()).eval()
    images = torch.tensor([[[[0.0, 0.3]]]])
    assert purifier(images).tolist() == [[[[1.0, 0.0]]]]
    assert (purifier.device.type, dtype_of(purifier)) == ("cpu", torch.float32)


def test_another_binarizer_shares_encoder_decoder_and_mode(purifier, images):
    inverted = purifier.with_binarizer(Inverted())
    assert inverted.encode(images).equal(1 - purifier.encode(images))
    assert inverted.encoder is purifier.encoder
    assert not any(part.training for part in inverted.modules())
    assert all(part.training for part in purifier.train().with_binarizer(Inverted()).modules())
    assert fingerprint(inverted) != fingerprint(purifier)


def test_a_lower_rate_keeps_the_binarizer(purifier, images):
    lower = purifier.with_binarizer(Inverted()).at(0.5)
    assert lower.encode(images).equal(1 - purifier.encode(images)[:, :2])


def test_the_binarizer_adds_nothing_to_weight_files(purifier):
    names = {name.rpartition(".")[0] for name in purifier.state_dict()}
    assert names == {f"{part}.layers.{n}" for part in ("encoder", "decoder") for n in (0, 2)}
    assert repr(Threshold(3.0)) == "Threshold(phi=3)"


def replicated(module):
    """Copy a module as `nn.DataParallel` does for each GPU: weights become plain attributes."""
    copy = module._replicate_for_data_parallel()
    for name, parameter in module._parameters.items():
        if parameter is None:
            copy._parameters[name] = None
        else:
            setattr(copy, name, parameter.view_as(parameter))
    for name, child in module._modules.items():
        copy._modules[name] = replicated(child)
    return copy


@pytest.mark.parametrize("training", [False, True])
def test_replicas_of_data_parallel_know_their_type(purifier, images, training):
    replica = replicated(purifier.train(training))
    assert not list(replica.parameters())
    assert (replica.device, dtype_of(replica)) == (torch.device("cpu"), torch.float64)
    torch.manual_seed(0)
    expected = purifier(images)
    torch.manual_seed(0)
    torch.testing.assert_close(replica(images), expected)
    with pytest.raises(InputTypeError, match=r"must be torch.float64 like the weights"):
        replica(images.float())


def test_replicas_of_a_denoiser(images):
    torch.manual_seed(0)
    denoiser = Denoiser(DenoiserConfig(widths=(4, 4))).double().eval()
    torch.testing.assert_close(replicated(denoiser)(images), denoiser(images))


def by_autograd(function, images):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(function(images), images)[0]


def weighted(purifier):
    """A scalar function of images (C, H, W)."""

    def function(image):
        out = purifier(image.unsqueeze(0))
        return (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()

    return function


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transformations_of_torch_func(purifier, images, dtype):
    purifier, images = purifier.to(dtype), images.to(dtype)
    function = weighted(purifier)
    expected = torch.stack([by_autograd(function, image) for image in images])
    assert expected.ne(0).any()
    torch.testing.assert_close(grad(function)(images[0]), expected[0])
    torch.testing.assert_close(vmap(grad(function))(images), expected)
    torch.testing.assert_close(jacrev(function)(images[0]), expected[0])
    torch.testing.assert_close(vmap(function)(images), torch.stack([*map(function, images)]))
    # The derivative along a direction is the gradient's product with it, BPDA included.
    direction = torch.randn_like(images[0])
    value, slope = jvp(function, (images[0],), (direction,))
    torch.testing.assert_close(value, function(images[0]))
    torch.testing.assert_close(slope, (expected[0] * direction).sum())


def test_gradients_by_weights(purifier, images):
    weights = {name: p.detach() for name, p in purifier.named_parameters()}

    def error(weights):
        return (functional_call(purifier, weights, images) - images).square().sum()

    found = grad(error)(weights)
    (purifier(images) - images).square().sum().backward()
    for name, parameter in purifier.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_out_of_range_are_refused_where_values_are_known(purifier, images, dtype):
    function, wrong = weighted(purifier.to(dtype)), 255 * images[0].to(dtype)
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        grad(function)(wrong)
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        jvp(function, (wrong,), (wrong,))


def test_device_and_type_of_modules():
    assert (device_of(nn.Identity()), dtype_of(nn.Identity())) == (
        torch.device("cpu"), torch.float32,
    )  # fmt: skip
    assert dtype_of(nn.Sequential(nn.Identity(), nn.BatchNorm2d(2, affine=False))) == torch.float32
    with torch.device("meta"):
        assert device_of(nn.Linear(1, 1)).type == "meta"
