import numpy as np
import pytest
import torch

import comdefend
from comdefend.data.shipped import fashion_images, image_crops
from comdefend.errors import InputError, InputTypeError
from comdefend.integrations.arrays import purify_array


@pytest.mark.parametrize(("name", "channels"), [("rgb-12bpp-lite", 3), ("gray-2bpp-robust", 1)])
def test_an_array_comes_back_as_the_purifier_makes_it(name, channels):
    pixels = image_crops(channels, 3, 30, 27)
    array = np.ascontiguousarray(pixels.numpy().transpose(0, 2, 3, 1))
    before = array.copy()
    purified = purify_array(array, name)
    assert (purified.shape, purified.dtype) == (array.shape, np.uint8)
    assert np.array_equal(array, before)
    with torch.no_grad():
        expected = (comdefend.load(name)(pixels.float() / 255) * 255).round()
    assert np.abs(purified.transpose(0, 3, 1, 2).astype(int) - expected.numpy()).max() <= 1
    # In any memory layout, and one by one.
    turned = np.asfortranarray(array)[::-1]
    assert np.abs(purify_array(turned, name)[::-1].astype(int) - purified).max() <= 1
    assert purify_array(array[:0], name).shape == (0, 30, 27, channels)


def test_any_defence_does():
    pixels = fashion_images()[0][:2].numpy().transpose(0, 2, 3, 1)
    assert np.array_equal(purify_array(pixels, torch.nn.Identity().eval()), pixels)
    assert len(np.unique(purify_array(pixels, "bits:1"))) == 2


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, 8, 8, 3)), InputTypeError, "NumPy array of uint8, not float64"),
        ([[1]], InputTypeError, "NumPy array of uint8, not list"),
        (
            np.zeros((8, 8, 3), np.uint8),
            InputError,
            r"\(N, H, W, C\), not \(8, 8, 3\); for one image write image\[None\]",
        ),
        (np.zeros((2, 3, 8, 8), np.uint8), InputError, "have 8 channels, these weights take 3"),
    ],
)
def test_other_arrays_are_refused_in_one_line(images, error, message):
    with pytest.raises(error, match=message):
        purify_array(images, "rgb-12bpp-lite")
