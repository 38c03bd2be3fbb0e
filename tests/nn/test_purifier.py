from itertools import pairwise

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from comdefend.common.schema import build, decode_json
from comdefend.errors import InputError, InputTypeError
from comdefend.nn.binarize import noisy_sigmoid, noisy_threshold, threshold
from comdefend.nn.config import GRAY_4BPP, RGB_12BPP, PurifierConfig
from comdefend.nn.purifier import ComDefend

SMALL = PurifierConfig(encoder_widths=(8, 8), decoder_widths=(8, 8), code_maps=5)


def small(downscale=1, channels=3, reduction=1):
    torch.manual_seed(0)
    config = PurifierConfig(
        channels=channels, encoder_widths=(8,), decoder_widths=(8,), code_maps=5,
        downscale=downscale, reduction=reduction,
    )  # fmt: skip
    return ComDefend(config).eval()


def convolution_parameters(channels):
    return sum(9 * a * b + b for a, b in pairwise(channels))


@pytest.mark.parametrize(
    ("config", "encoder", "decoder"),
    [
        (
            RGB_12BPP,
            (3, 16, 32, 64, 128, 256, 128, 64, 32, 12),
            (12, 32, 64, 128, 256, 128, 64, 32, 16, 3),
        ),
        (
            GRAY_4BPP,
            (1, 32, 64, 128, 256, 128, 64, 64, 32, 4),
            (4, 32, 64, 128, 256, 128, 64, 64, 32, 1),
        ),
    ],
)
def test_networks_have_the_layers_of_the_paper(config, encoder, decoder):
    purifier = ComDefend(config)
    for network, channels in ((purifier.encoder, encoder), (purifier.decoder, decoder)):
        count = sum(p.numel() for p in network.parameters())
        assert count == convolution_parameters(channels)
        elus = sum(isinstance(m, torch.nn.ELU) for m in network.modules())
        assert elus == len(channels) - 2


def test_bits_per_pixel():
    assert RGB_12BPP.bpp == 12
    assert GRAY_4BPP.bpp == 4
    assert PurifierConfig(code_maps=8, downscale=2).bpp == 2


def test_code_is_binary_and_decodes_to_what_the_purifier_returns(rgb):
    images = torch.rand(2, 3, 24, 20)
    with torch.no_grad():
        code = rgb.encode(images)
        assert code.shape == (2, 12, 24, 20)
        assert set(code.unique().tolist()) <= {0.0, 1.0}
        torch.testing.assert_close(rgb.decode(code, size=(24, 20)), rgb(images))


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    downscale=st.integers(1, 5),
    reduction=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    count=st.integers(1, 3),
)
def test_any_size_comes_back_as_it_was(height, width, downscale, reduction, channels, count):
    purifier = small(downscale, channels, reduction)
    images = torch.rand(count, channels, height, width)
    code = purifier.encode(images)
    sides = [-(-side // (downscale * reduction)) * reduction for side in (height, width)]
    assert code.shape == (count, 5, *sides)
    purified = purifier(images)
    assert purified.shape == images.shape
    assert purified.isfinite().all()
    assert 0 <= purified.min() <= purified.max() <= 1


def test_padding_is_a_reflection():
    purifier = small(downscale=4).double()
    images = torch.rand(1, 3, 6, 8).double()
    padded = torch.nn.functional.pad(images, (0, 0, 0, 2), mode="reflect")
    torch.testing.assert_close(purifier.encode(images), purifier.encode(padded))


def test_layers_at_a_lower_resolution_than_the_code():
    images = torch.rand(2, 3, 16, 24)
    whole, reduced = small(downscale=2), small(downscale=2, reduction=2)
    assert reduced.encode(images).shape == whole.encode(images).shape
    sizes = []
    for layer in (*reduced.encoder.layers, *reduced.decoder.layers):
        layer.register_forward_hook(lambda _, inputs, output: sizes.append(output.shape[-2:]))
    reduced(images)
    assert set(sizes) == {(4, 6)}
    assert reduced.config.receptive_radius == 2 * whole.config.receptive_radius


def test_layers_of_the_same_width_add_to_their_input():
    config = PurifierConfig(
        encoder_widths=(6, 6), decoder_widths=(6, 6), code_maps=8, downscale=4, rates=(4,),
        activation="gelu", residual=True, outer_kernel=1,
    )  # fmt: skip
    torch.manual_seed(0)
    purifier = ComDefend(config).eval()
    first, inner, last = (m for m in purifier.encoder.modules() if isinstance(m, torch.nn.Conv2d))
    assert [m.kernel_size for m in (first, inner, last)] == [(1, 1), (3, 3), (1, 1)]
    images = torch.rand(2, 3, 16, 12)
    gelu = torch.nn.functional.gelu
    features = gelu(first(torch.nn.functional.pixel_unshuffle(images, 4) - 0.5))
    logits = last(features + gelu(inner(features)))
    torch.testing.assert_close(purifier.logits(images), logits)
    # Fewer maps are the first of the code, and the decoder sees the others as zeros.
    code = (logits > 0).float()
    code[:, 4:] = 0
    torch.testing.assert_close(purifier.at(0.25)(images), purifier.decode(code))


def test_outer_filters_of_one_pixel_reach_less_far():
    config = PurifierConfig(
        encoder_widths=(6,), decoder_widths=(6,), code_maps=4, downscale=2, outer_kernel=1
    )
    wide = PurifierConfig(encoder_widths=(6,), decoder_widths=(6,), code_maps=4, downscale=2)
    assert (config.receptive_radius, wide.receptive_radius) == (2, 10)
    torch.manual_seed(0)
    purifier = ComDefend(config).eval()
    images = torch.rand(1, 3, 12, 12)
    changed = images.clone()
    changed[..., 4, 4] = 1 - changed[..., 4, 4]
    moved = (purifier(changed) != purifier(images)).any(1)[0].nonzero()
    assert ((moved >= 4) & (moved < 6)).all()


def test_threshold_has_the_gradient_of_the_identity():
    z = torch.tensor([-300.0, -0.1, 0.0, 0.1, 300.0], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    code = threshold(z)
    (code * weights).sum().backward()
    assert code.tolist() == [0, 0, 0, 1, 1]
    assert z.grad.tolist() == weights.tolist()


def test_training_code_is_the_noisy_sigmoid_and_evaluation_has_no_noise():
    purifier = ComDefend(SMALL)
    z = torch.randn(4, 5, 6, 6) * 30
    noise = torch.randn_like(z)
    soft = purifier.train().binarize(z, noise)
    torch.testing.assert_close(soft, torch.sigmoid(z - 20 * noise))
    torch.testing.assert_close(noisy_sigmoid(z, torch.zeros_like(z)), torch.sigmoid(z))
    assert purifier.train().binarize(z).ne(purifier.binarize(z)).any()
    assert purifier.eval().binarize(z).equal((z > 0).float())


def test_a_noisy_threshold_is_hard_with_the_gradient_of_the_noisy_sigmoid():
    z, noise = torch.randn(50, requires_grad=True), torch.randn(50)
    code, soft = noisy_threshold(z, noise), noisy_sigmoid(z, noise)
    assert code.equal((z > noise).float())
    slope, expected = (torch.autograd.grad(values.sum(), z)[0] for values in (code, soft))
    torch.testing.assert_close(slope, expected)


def test_gradients_reach_the_image_through_the_hard_code(gray):
    images = torch.rand(1, 1, 12, 12, requires_grad=True)
    gray(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_channels_last_and_bfloat16_agree_with_the_plain_network(rgb, chelsea):
    array = torch.tensor(list(chelsea.crop((150, 90, 198, 138)).tobytes()), dtype=torch.uint8)
    images = array.view(1, 48, 48, 3).permute(0, 3, 1, 2).float() / 255

    def difference(found, wanted):
        return ((found.float() - wanted).norm() / wanted.norm()).item()

    # Logits and images from a given code: where a bit falls near 0 is up to rounding.
    with torch.no_grad():
        logits, code = rgb.logits(images), rgb.encode(images)
        purified = rgb.decode(code)
        last = [x.contiguous(memory_format=torch.channels_last) for x in (images, code)]
        assert difference(rgb.logits(last[0]), logits) < 1e-4
        assert difference(rgb.decode(last[1]), purified) < 1e-4
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert 0 < difference(rgb.logits(images), logits) < 0.1
            assert 0 < difference(rgb.decode(code), purified) < 0.1


def test_export_and_compile_give_the_same_images():
    purifier = small(downscale=2).double()
    images = torch.rand(2, 3, 10, 8).double()
    expected = purifier(images).detach()
    compiled = torch.compile(purifier, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images).detach(), expected)
    batch = torch.export.Dim("batch")
    program = torch.export.export(purifier, (images,), dynamic_shapes=({0: batch},))
    again = torch.rand(5, 3, 10, 8).double()
    torch.testing.assert_close(program.module()(again).detach(), purifier(again).detach())


@pytest.mark.parametrize("downscale", [1, 2, 3])
def test_export_with_dynamic_height_and_width(downscale):
    purifier = small(downscale).double()
    dims = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(
        purifier, (torch.rand(2, 3, 11, 8).double(),), dynamic_shapes=(dims,)
    )
    # Divided by the downscale factor and not; from one pixel more than it.
    for size in ((1, 3, 7, 13), (3, 3, 12, 12), (1, 3, 4, 5)):
        images = torch.rand(size).double()
        torch.testing.assert_close(program.module()(images).detach(), purifier(images).detach())


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(3, 8, 8), InputError, r"shape \(N, C, H, W\)"),
        (torch.rand(8), InputError, r"shape \(N, C, H, W\)"),
        (torch.rand(1, 1, 8, 8), InputError, "have 1 channels, these weights take 3"),
        (torch.rand(0, 3, 8, 8), InputError, "empty"),
        (torch.rand(1, 3, 8, 8) * 255, InputError, r"must lie in \[0, 1\]"),
        (torch.rand(1, 3, 8, 8) - 0.5, InputError, r"must lie in \[0, 1\]"),
        (torch.full((1, 3, 8, 8), torch.nan), InputError, "without NaN"),
        (torch.randint(0, 255, (1, 3, 8, 8)), InputTypeError, "divide by 255"),
        (torch.rand(1, 3, 8, 8).double(), InputTypeError, "must be torch.float32 like the weights"),
        ([[1.0]], InputTypeError, "must be a torch tensor, not list"),
    ],
)
def test_bad_images_are_refused_in_one_line(images, error, message):
    with pytest.raises(error, match=message) as caught:
        small()(images)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError | TypeError)


def test_rounding_errors_of_the_range_are_forgiven():
    small()(torch.full((1, 3, 4, 4), 1 + 1e-6))


@pytest.mark.parametrize(
    ("code", "size", "message"),
    [
        (torch.zeros(1, 4, 8, 8), None, "code must have shape"),
        (torch.zeros(1, 5, 8, 8), (15, 19), "does not fit a code"),
        (torch.zeros(1, 5, 8, 8), (15, 14), "does not fit a code"),
        (torch.zeros(1, 5, 8, 8), (3, 16, 16), "size must be"),
        (torch.full((1, 5, 8, 8), 2.0), None, r"must lie in \[0, 1\]"),
    ],
)
def test_bad_codes_are_refused(code, size, message):
    with pytest.raises(InputError, match=message):
        small(downscale=2).decode(code, size=size)


def test_codes_that_cut_a_block_are_refused():
    with pytest.raises(InputError, match="multiples of 2"):
        small(reduction=2).decode(torch.zeros(1, 5, 4, 3))


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 0},
        {"channels": 4},
        {"code_maps": -1},
        {"code_maps": 10**9},
        {"downscale": 99},
        {"reduction": 0},
        {"phi": float("nan")},
        {"phi": -1.0},
        {"phi": 10**400},
        {"rates": (4, 2)},
        {1: 2, "channels": 3},
        {"encoder_widths": ()},
        {"activation": "relu"},
        {"outer_kernel": 5},
        {"encoder_widths": (10**8,)},
        {"decoder_widths": (1.5,)},
        {"surprise": 1},
    ],
)
def test_bad_configurations_are_refused(change):
    with pytest.raises(InputError):
        build(PurifierConfig, change, "network")


def test_configuration_survives_json():
    assert decode_json(PurifierConfig, msgspec.json.encode(GRAY_4BPP), "network") == GRAY_4BPP


def nested(reduction=1):
    torch.manual_seed(0)
    config = PurifierConfig(
        encoder_widths=(8,), decoder_widths=(8,), code_maps=8, downscale=2, reduction=reduction,
        rates=(2, 4),
    )  # fmt: skip
    # In double precision no rounding turns a bit.
    return ComDefend(config).double().eval()


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize(("bpp", "maps"), [(0.5, 2), (1, 4), (2, 8)])
def test_at_a_lower_rate_the_first_maps_are_the_code(bpp, maps, reduction):
    purifier, images = nested(reduction), torch.rand(2, 3, 9, 14).double()
    shorter = purifier.at(bpp)
    assert shorter.config.bpp == bpp
    assert shorter.encode(images).equal(purifier.encode(images)[:, :maps])
    code = purifier.encode(images)
    code[:, maps:] = 0
    torch.testing.assert_close(shorter(images), purifier.decode(code, (9, 14)))
    assert not shorter.training


def test_a_lower_rate_shares_the_weights():
    purifier = nested()
    with torch.no_grad():
        purifier.encoder.layers[0].bias += 1
    shorter = purifier.at(1)
    assert shorter.encoder.layers[0].bias.equal(purifier.encoder.layers[0].bias)
    assert shorter.at(0.5).config.bpps == (0.5,)


def test_rates_that_were_not_trained_are_refused():
    with pytest.raises(InputError, match=r"at 0\.5, 1, 2 bits per pixel, not at 3"):
        nested().at(3)
    with pytest.raises(InputError, match="rates must ascend"):
        PurifierConfig(rates=(4, 2))
    with pytest.raises(InputError, match="rates must be an integer from 1 to 11, not 12"):
        PurifierConfig(rates=(12,))
