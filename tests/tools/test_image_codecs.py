import pytest
from PIL import Image

from tools.image_codecs import FORMATS, format_codecs, own_codecs

CODECS = [*own_codecs({"photo": (1.0,)}), *format_codecs(dict.fromkeys(FORMATS, (50,)))]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_codec_makes_whole_files_and_reads_them(codec):
    image = Image.effect_noise((32, 40), 50).convert("RGB")
    data = codec.encode(image)
    rebuilt = codec.decode(data)
    assert (rebuilt.size, rebuilt.mode) == (image.size, "RGB")
    assert 50 < len(data) < 32 * 40 * 3


def test_better_quality_takes_more_bytes():
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    low, high = (
        {
            codec.name: len(codec.encode(image))
            for codec in format_codecs(dict.fromkeys(FORMATS, (q,)))
        }
        for q in (10, 80)
    )
    assert {"JPEG", "WebP", "AVIF"} <= low.keys()
    assert all(low[name] < high[name] for name in low)
