import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.purify.tiling import check_tile, tiles
from comdefend.zoo import load


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


@settings(deadline=None, max_examples=15)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), tile=st.integers(1, 24),
    downscale=st.integers(1, 3), reduction=st.integers(1, 2),
)  # fmt: skip
def test_tiles_purify_as_the_whole_image(
    purify_alone, in_double, height, width, tile, downscale, reduction
):
    torch.manual_seed(0)
    config = PurifierConfig(
        encoder_widths=(6, 6), decoder_widths=(6, 6), code_maps=4, downscale=downscale,
        reduction=reduction,
    )  # fmt: skip
    purifier = in_double(ComDefend(config).eval())
    pixels = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    difference = purify_alone(purifier, pixels, tile).int() - purifier.whole(pixels).int()
    # One step of 8 bits where the value lies on the edge between two.
    assert difference.abs().max() <= 1
    assert difference.ne(0).float().mean() < 1e-2


def test_no_seam_shows_in_a_photograph(purify_alone, in_double, photo):
    purifier = in_double(load("rgb-3bpp-robust"))
    difference = purify_alone(purifier, photo, 32).int() - purifier.whole(photo).int()
    assert difference.abs().max() <= 1


def test_bad_tiles_and_channels(purify_alone, tiny):
    with pytest.raises(InputError, match="tile must be at least 1"):
        check_tile(0)
    with pytest.raises(InputError, match="channels"):
        purify_alone(tiny, torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
