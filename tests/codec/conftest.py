import numpy as np
import pytest
from PIL import Image

import comdefend


@pytest.fixture(scope="session")
def small(chelsea):
    """The cat's eyes, 61x43: no side is a multiple of 8."""
    return chelsea.crop((160, 80, 221, 123))


@pytest.fixture(scope="session")
def purified():
    """Purify an image by the network itself: what decompressing must come back with."""

    def purify(image, weights, bpp=None):
        purifier = comdefend.load(weights)
        purifier = purifier if bpp is None else purifier.at(bpp)
        mode = "L" if purifier.config.channels == 1 else "RGB"
        pixels = np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)
        import torch

        floats = torch.from_numpy(pixels.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
        with torch.inference_mode():
            array = (purifier(floats) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
        return Image.fromarray(array if mode == "RGB" else array[..., 0])

    return purify
