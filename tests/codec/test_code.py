import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import comdefend
from comdefend.codec.code import Code, decode_image, encode_image
from comdefend.data.image import ImageCanvas, ReadImage
from comdefend.errors import ImageError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

EVERYTHING = slice(None)


@settings(deadline=None)
@given(maps=st.integers(1, 20), first=st.integers(0, 19), seed=st.integers(0, 99))
def test_maps_are_kept_part_by_part(maps, first, seed):
    bits = np.random.default_rng(seed).integers(0, 2, (maps, 5, 6), np.uint8)
    first = min(first, maps)
    code = Code(maps, (5, 6))
    for columns in (slice(0, 4), slice(4, 6)):
        code.write(0, EVERYTHING, columns, bits[:first, :, columns])
        code.write(first, EVERYTHING, columns, bits[first:, :, columns])
    assert (code.read(maps, EVERYTHING, EVERYTHING) == bits).all()
    assert (code.read(first, slice(1, 3), EVERYTHING) == bits[:first, 1:3]).all()


def canvas(height, width, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    from PIL import Image

    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    return ImageCanvas(ReadImage(image), channels)


@settings(deadline=None, max_examples=15)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), tile=st.integers(1, 24),
    downscale=st.integers(1, 3), reduction=st.integers(1, 2),
)  # fmt: skip
def test_tiles_are_coded_and_rebuilt_as_the_whole_image(height, width, tile, downscale, reduction):
    torch.manual_seed(0)
    config = PurifierConfig(
        encoder_widths=(6, 6), decoder_widths=(6, 6), code_maps=4, downscale=downscale,
        reduction=reduction,
    )  # fmt: skip
    purifier = ComDefend(config).eval()
    source, target, whole = (canvas(height, width) for _ in range(3))
    code, coded = (encode_image(purifier, source, side) for side in (tile, 10_000))
    bits, expected = (c.read(4, EVERYTHING, EVERYTHING) for c in (code, coded))
    assert bits.shape[1:] == (config.code_side(height), config.code_side(width))
    # Where floats are rounded in another order, a logit near 0 may turn its bit.
    assert (bits != expected).mean() < 1e-2
    decode_image(purifier, code, target, tile)
    decode_image(purifier, code, whole)
    rebuilt = [np.asarray(c.image.image).astype(int) for c in (target, whole)]
    assert np.abs(rebuilt[0] - rebuilt[1]).max() <= 1


def test_every_bit_of_a_photograph_is_the_networks(small):
    purifier = comdefend.load("photo")
    pixels = ImageCanvas(ReadImage(small), 3)
    code = encode_image(purifier, pixels)
    read = pixels.read(slice(0, small.height), slice(0, small.width))
    floats = torch.from_numpy(read).float() / 255
    with torch.inference_mode():
        expected = purifier.encode(floats)[0].numpy()
    assert (code.read(128, EVERYTHING, EVERYTHING) != expected).mean() < 1e-3


def test_values_that_are_not_finite_are_reported():
    purifier = ComDefend(PurifierConfig(encoder_widths=(4,), decoder_widths=(4,))).eval()
    with torch.no_grad():
        purifier.decoder.layers[0].bias.fill_(float("nan"))
    with pytest.raises(ImageError, match="not finite"):
        decode_image(purifier, Code(12, (8, 8)), canvas(8, 8))
