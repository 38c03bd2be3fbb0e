import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from comdefend.defenses import (
    JPEG,
    BitDepth,
    DefendedClassifier,
    GaussianNoise,
    MedianSmoothing,
    ResizePad,
    TotalVariation,
    WebP,
    is_random,
    load_defense,
)
from comdefend.errors import InputError, InputTypeError

FIXED = ["jpeg:50", "jpeg:50+5", "webp:50", "bits:3", "median:3", "tv:0.1"]
RANDOM = ["noise:0.1", "resize-pad"]


@pytest.fixture(scope="module")
def photo(chelsea):
    """(1, 3, 64, 64): the cat's face, scaled to a size that is quick."""
    small = chelsea.crop((100, 30, 356, 286)).resize((64, 64))
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255


def roughness(images):
    """Total variation."""
    return images.diff(dim=-1).abs().sum() + images.diff(dim=-2).abs().sum()


@pytest.mark.parametrize("spec", [*FIXED, *RANDOM])
@pytest.mark.parametrize("shape", [(2, 3, 20, 27), (1, 1, 28, 28)])
def test_shape_type_and_range_are_kept(spec, shape):
    defense = load_defense(spec)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for given in (images, images.round()):
        before = given.clone()
        result = defense(given)
        assert result.shape == shape
        assert result.dtype == torch.float32
        assert 0 <= result.min() <= result.max() <= 1
        assert given.equal(before)
    assert defense(images.double()).dtype == torch.float64
    assert not DefendedClassifier(defense, nn.Identity().eval()).training


@pytest.mark.parametrize("spec", FIXED)
def test_each_image_is_treated_by_itself_and_always_alike(spec, photo):
    defense = load_defense(spec)
    batch = torch.cat([photo, photo.flip(-1), 1 - photo])
    together = defense(batch)
    torch.testing.assert_close(together, torch.cat([defense(one[None]) for one in batch]))
    assert together.equal(defense(batch))


@pytest.mark.parametrize("spec", FIXED)
def test_the_gradient_goes_straight_through(spec, photo):
    defense = load_defense(spec)
    images = photo.clone().requires_grad_()
    weights = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0))
    result = defense(images)
    assert result.equal(defense(photo)), "the gradient must not cost a value"
    (result * weights).sum().backward()
    torch.testing.assert_close(images.grad, weights)


@pytest.mark.parametrize("codec", [JPEG, WebP])
def test_a_codec_loses_more_at_lower_quality(codec, photo):
    error = [(codec(q)(photo) - photo).square().mean().item() for q in (95, 50, 10)]
    assert 0 < error[0] < error[1] < error[2]
    assert error[2] < 0.02


def test_jpeg_on_its_own_grid_is_nearly_free_and_on_a_shifted_one_is_not(photo):
    gray = photo.mean(1, keepdim=True)
    coded = JPEG(30)(gray)
    aligned = (JPEG(30)(coded) - coded).square().mean()
    shifted = (JPEG(30, offset=4)(coded) - coded).square().mean()
    assert shifted > 10 * aligned


def test_a_grid_shifted_by_whole_blocks_is_the_same_grid(photo):
    gray = photo.mean(1, keepdim=True)
    torch.testing.assert_close(JPEG(50, offset=8)(gray), JPEG(50)(gray))
    # Colour at half resolution has blocks of 16 pixels.
    assert not JPEG(50, offset=8)(photo).allclose(JPEG(50)(photo))


def test_bit_depth():
    ramp = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    for bits in range(1, 8):
        assert len(BitDepth(bits)(ramp).unique()) == 2**bits
    torch.testing.assert_close(BitDepth(8)(ramp), ramp)
    assert BitDepth(1)(torch.tensor([[[[0.49, 0.51]]]])).tolist() == [[[[0, 1]]]]


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_that_of_scipy(size, photo):
    expected = ndimage.median_filter(photo.numpy(), size=(1, 1, size, size), mode="nearest")
    assert MedianSmoothing(size)(photo).equal(torch.from_numpy(expected))


def test_median_removes_single_pixels():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, [0, 4, 8], [0, 5, 2]] = 1
    assert MedianSmoothing(3)(image).sum() == 0


def test_total_variation_falls_with_the_weight(photo):
    generator = torch.Generator().manual_seed(0)
    noisy = (photo + 0.1 * torch.randn(photo.shape, generator=generator)).clamp(0, 1)
    smooth = [TotalVariation(weight)(noisy) for weight in (0.02, 0.1, 0.5)]
    assert roughness(noisy) > roughness(smooth[0]) > roughness(smooth[1]) > roughness(smooth[2])
    assert (smooth[1] - photo).square().mean() < (noisy - photo).square().mean()
    flat = torch.full((1, 3, 8, 8), 0.25)
    torch.testing.assert_close(TotalVariation(0.5)(flat), flat)


@pytest.mark.parametrize("spec", RANDOM)
def test_random_defences_follow_the_global_seed(spec, photo):
    defense = load_defense(spec)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        # Sizes and positions are few: several draws, so that two seeds must differ somewhere.
        first, second = defense(photo.repeat(8, 1, 1, 1)), defense(photo.repeat(8, 1, 1, 1))
        assert not first.equal(second)
        assert not (first == first[:1]).all(), "every image has its own draw"
        torch.manual_seed(3)
        assert first.equal(defense(photo.repeat(8, 1, 1, 1)))


def test_noise_has_its_standard_deviation_and_gradient():
    gray = torch.full((1, 1, 100, 100), 0.5, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noisy = GaussianNoise(0.05)(gray)
    assert noisy.std().item() == pytest.approx(0.05, rel=0.05)
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.005)
    noisy.sum().backward()
    assert gray.grad.eq(1).all()


def test_resize_pad_keeps_all_of_a_white_image_inside_a_black_border():
    white = torch.ones(1, 1, 40, 40, requires_grad=True)
    sides, corners = set(), set()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(400):
            result = ResizePad()(white)
            inside = result[0, 0] > 0.999
            rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
            assert len(rows) == len(columns)
            assert inside.sum() == len(rows) * len(columns), "one square"
            assert result[0, 0][~inside].eq(0).all()
            sides.add(len(rows))
            corners.add((int(rows[0]), int(columns[0])))
    assert sides == set(range(34, 41))
    assert {top for top, _ in corners} == {left for _, left in corners} == set(range(7))
    result.sum().backward()
    assert white.grad.sum().item() == pytest.approx(result.sum().item(), rel=1e-4)


def test_resize_pad_keeps_the_proportions_of_an_image():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        result = ResizePad(0.5)(torch.ones(20, 1, 20, 40))
    heights = set()
    for inside in result[:, 0] > 0.999:
        height, width = int(inside.any(1).sum()), int(inside.any(0).sum())
        assert width == 2 * height
        heights.add(height)
    assert len(heights) > 3
    assert heights <= set(range(10, 21))


def test_is_random_looks_inside(gray):
    assert not is_random(gray)
    assert not is_random(nn.Sequential(JPEG(75), BitDepth(3), MedianSmoothing(3)))
    assert is_random(ResizePad())
    assert is_random(nn.Sequential(JPEG(75), nn.Sequential(GaussianNoise(0.1))))
    assert is_random(DefendedClassifier(GaussianNoise(0.1), nn.Identity()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JPEG(0), "quality must be an integer from 1 to 95, not 0"),
        (lambda: JPEG(96), "quality must be"),
        (lambda: WebP(101), "quality must be an integer from 0 to 100, not 101"),
        (lambda: JPEG(75, offset=16), "offset must be an integer from 0 to 15, not 16"),
        (lambda: JPEG(75, offset=-1), "offset must be"),
        (lambda: BitDepth(0), "bits must be an integer from 1 to 8, not 0"),
        (lambda: BitDepth(9), "bits must be"),
        (lambda: MedianSmoothing(2), "size must be an odd integer, at least 3, not 2"),
        (lambda: MedianSmoothing(1), "size must be"),
        (lambda: TotalVariation(0), "weight must be a finite number above 0, not 0"),
        (lambda: TotalVariation(math.inf), "weight must be"),
        (lambda: GaussianNoise(math.nan), "std must be a finite number above 0 and at most 1"),
        (lambda: GaussianNoise(1.5), "std must be"),
        (lambda: ResizePad(0), "smallest must be"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_bad_images():
    for spec in (*FIXED, *RANDOM):
        defense = load_defense(spec)
        with pytest.raises(InputTypeError, match="divide by 255"):
            defense(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        for images in (torch.rand(3, 20, 20), torch.rand(1, 2, 20, 20), torch.rand(0, 3, 20, 20)):
            with pytest.raises(InputError, match="images: "):
                defense(images)
        for bad in (2.0, -0.1, math.nan):
            with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
                defense(torch.full((1, 3, 20, 20), bad))
    with pytest.raises(InputError, match="sides of 4x9 are too small for this offset"):
        JPEG(75, offset=5)(torch.zeros(1, 1, 4, 9))
    with pytest.raises(InputError, match="sides of 4x9 are too small for this size"):
        MedianSmoothing(5)(torch.zeros(1, 1, 4, 9))
