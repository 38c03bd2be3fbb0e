import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.purify.batches import purify_tiled
from comdefend.purify.tiling import encode_tiled, tiles


def pixels_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0)


@settings(deadline=None)
@given(
    height=st.integers(1, 60), width=st.integers(1, 60), tile=st.integers(1, 40),
    halo=st.integers(0, 20), multiple=st.integers(1, 4),
)  # fmt: skip
def test_tiles_cover_every_pixel_once(height, width, tile, halo, multiple):
    seen = np.zeros((height, width), int)
    for part in tiles(height, width, tile, halo, multiple):
        seen[part.rows, part.columns] += 1
        assert part.rows.start % multiple == part.outer_rows.start % multiple == 0
        assert part.outer_rows.start in (0, part.rows.start - -(-halo // multiple) * multiple)
        assert part.outer_columns.stop <= width
    assert (seen == 1).all()


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), tile=st.integers(1, 24),
    downscale=st.integers(1, 3), reduction=st.integers(1, 2),
)  # fmt: skip
def test_tiles_purify_as_the_whole_image(height, width, tile, downscale, reduction):
    torch.manual_seed(0)
    config = PurifierConfig(
        encoder_widths=(6, 6), decoder_widths=(6, 6), code_maps=4, downscale=downscale,
        reduction=reduction,
    )  # fmt: skip
    purifier = ComDefend(config).double().eval()
    pixels = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)

    class InDouble(torch.nn.Module):
        # Double precision leaves no logit near enough to 0 for rounding to turn a bit.
        def __init__(self):
            super().__init__()
            self.config, self.inner = config, purifier
            self.device = torch.device("cpu")

        def forward(self, images):
            return self.inner(images.double())

        def encode(self, images):
            return self.inner.encode(images.double())

    whole = (purifier(pixels.double() / 255) * 255).round().to(torch.uint8)
    difference = (purify_tiled(InDouble(), pixels, tile).int() - whole.int()).abs()
    # One step of 8 bits where the value lies on the edge between two.
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-2
    code = purifier.encode(pixels.double() / 255).bool()
    assert encode_tiled(InDouble(), pixels, tile).equal(code)


def test_tiled_and_whole_codes_of_a_photograph_agree_but_near_zero(rgb, chelsea):
    pixels = pixels_of(chelsea.crop((0, 0, 200, 150)))
    with torch.no_grad():
        logits = rgb.logits(pixels.float() / 255)
    whole = logits > 0
    different = encode_tiled(rgb, pixels, tile=64) != whole
    assert (logits[different].abs() < 1e-2).all()
    assert different.float().mean() < 1e-5


def test_no_seam_shows_in_a_photograph(rgb, chelsea):
    pixels = pixels_of(chelsea.crop((0, 0, 200, 150)))
    whole = purify_tiled(rgb, pixels, tile=1000).int()
    tiled = purify_tiled(rgb, pixels, tile=64).int()
    assert ((tiled - whole).abs() > 1).float().mean() < 1e-4


def test_bad_input():
    purifier = ComDefend(PurifierConfig(encoder_widths=(4,), decoder_widths=(4,))).eval()
    with pytest.raises(InputError, match="tile must be at least 1"):
        purify_tiled(purifier, torch.zeros(1, 3, 8, 8, dtype=torch.uint8), tile=0)
    with pytest.raises(InputError, match="uint8"):
        purify_tiled(purifier, torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="channels"):
        purify_tiled(purifier, torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
