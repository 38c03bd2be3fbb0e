import pytest
import torch

from comdefend.common.schema import build
from comdefend.defenses import load_defense
from comdefend.errors import InputError, InputTypeError, WeightsError
from comdefend.nn.denoiser import Denoiser, DenoiserConfig
from comdefend.zoo import load, load_purifying, save_weights


def denoiser(channels=3, widths=(4, 6, 8), last=True):
    """A denoiser with random weights and the batch statistics of a trained one."""
    torch.manual_seed(0)
    found = Denoiser(DenoiserConfig(channels, widths))
    if last:
        torch.nn.init.normal_(found.last.weight)
    found.train()(torch.rand(8, channels, 16, 16))
    return found.eval()


def test_an_untrained_denoiser_returns_the_images():
    images = torch.rand(2, 3, 32, 32)
    assert denoiser(last=False)(images).equal(images)


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (1, 1), (3, 17), (30, 45)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size(channels, size):
    images = torch.rand(2, channels, *size)
    denoised = denoiser(channels)(images)
    assert denoised.shape == images.shape
    assert 0 <= denoised.min() <= denoised.max() <= 1
    assert not denoised.equal(images)


def test_padding_leaves_sizes_that_need_none_alone():
    model, images = denoiser(), torch.rand(1, 3, 20, 24)
    expected = images - 0.1 * model._perturbation(images)
    torch.testing.assert_close(model(images), expected.clamp(0, 1))


def test_gradients_pass_where_values_are_clamped():
    model = denoiser(last=False)
    # Everything is made darker than black.
    torch.nn.init.constant_(model.last.bias, 30.0)
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    denoised = model(images)
    assert denoised.eq(0).all()
    denoised.sum().backward()
    torch.testing.assert_close(images.grad, torch.ones_like(images))


def test_every_pixel_gets_a_gradient_through_the_network():
    images = torch.rand(1, 3, 28, 28, requires_grad=True)
    denoiser()(images).square().sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.ne(0).all()


def test_bad_images():
    model = denoiser()
    with pytest.raises(InputError, match=r"have 1 channels, these weights take 3 \(RGB\)"):
        model(torch.rand(1, 1, 8, 8))
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        model(255 * torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"shape \(N, C, H, W\)"):
        model(torch.rand(3, 8, 8))
    with pytest.raises(InputTypeError, match="divide by 255"):
        model(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 2}, "channels must be 1"),
        ({"widths": []}, "widths must be a tuple of 1 to 6 widths"),
        ({"widths": [4] * 7}, "widths must be a tuple of 1 to 6 widths"),
        ({"widths": [4, 10**6]}, "widths must be an integer from 1 to 2048"),
        ({"depth": 3}, "unknown field 'depth'; known: channels"),
    ],
)
def test_bad_configurations(values, message):
    with pytest.raises(InputError, match=message):
        build(DenoiserConfig, values, "network")


def test_weights_load_as_they_were_saved_and_are_no_purifier(tmp_path):
    model, file = denoiser(), tmp_path / "denoiser.safetensors"
    save_weights(file, model, {"seed": 7})
    images = torch.rand(2, 3, 12, 12)
    for opened in (load_purifying(file), load_defense(str(file))):
        assert isinstance(opened, Denoiser)
        assert not opened.training
        assert opened(images).equal(model(images))
    with pytest.raises(WeightsError, match="holds no comdefend purifier"):
        load(file)
    with pytest.raises(InputError, match="a denoiser has no rates; leave @2 out"):
        load_purifying(f"{file}@2")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(WeightsError):
        load_purifying(file)


def test_purifiers_open_by_the_same_function():
    assert load_purifying("gray-4bpp").config == load("gray-4bpp").config
    with pytest.raises(InputError, match="unknown weights 'gray'"):
        load_purifying("gray")
