import pytest
from PIL import Image

from tools.codec_rates import CodecRow, _format, _own, rate_difference


def rows(codec, points):
    return [
        CodecRow(codec=codec, setting=0, bpp=b, psnr=p, ms_ssim=0, clean=0, attacked=())
        for b, p in points
    ]


def test_twice_the_bits_at_equal_fidelity_are_100_percent_more():
    reference = rows("a", [(0.5, 25), (1, 28), (2, 32)])
    twice = rows("b", [(1, 25), (2, 28), (4, 32)])
    assert rate_difference(twice, reference) == pytest.approx(1)
    assert rate_difference(reference, twice) == pytest.approx(-0.5)


def test_only_what_both_reach_counts():
    reference = rows("a", [(0.5, 25), (1, 28), (2, 31)])
    # Equal below 28 dB, which is all that it reaches.
    assert rate_difference(reference[:2], reference) == pytest.approx(0, abs=0.05)
    with pytest.raises(ValueError, match="no range in common"):
        rate_difference(rows("c", [(1, 40), (2, 41)]), reference)


@pytest.mark.parametrize("coder", [_own("photo", 1.0), _format("JPEG", 50), _format("AVIF", 40)])
def test_a_coder_tells_the_bytes_of_a_file(coder):
    image = Image.effect_noise((32, 40), 50).convert("RGB")
    size, rebuilt = coder(image)
    assert rebuilt.size == image.size
    assert rebuilt.mode == "RGB"
    assert 50 < size < 32 * 40 * 3
