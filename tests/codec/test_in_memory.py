import io
import tracemalloc

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image, ImageCms

import comdefend
from comdefend import zoo
from comdefend.codec import TruncatedWarning, info
from comdefend.codec.codec import open_codec
from comdefend.codec.container import Container, read_container, read_header, write_container
from comdefend.codec.reading import read_code
from comdefend.errors import ComdefendError, DataMissingError, ImageError, InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import save_weights

EVERYTHING = slice(None)


def off(image, other):
    """The largest difference between pixels."""
    assert (image.size, image.mode) == (other.size, other.mode)
    return np.abs(np.asarray(image).astype(int) - np.asarray(other).astype(int)).max()


def with_header(data, **changes):
    container = read_container(data)
    return write_container(replace(container, header=replace(container.header, **changes)))


@pytest.fixture(scope="module")
def data(small):
    return comdefend.compress(small)


def test_a_code_that_is_not_binary_cannot_be_stored(small, tmp_path):
    config = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=2, binary=False)
    save_weights(tmp_path / "soft.safetensors", ComDefend(config), {})
    with pytest.raises(InputError, match="their code is not binary"):
        comdefend.compress(small, tmp_path / "soft.safetensors")


@pytest.mark.parametrize("weights", comdefend.weights())
def test_images_come_back_as_the_network_purifies_them(small, purified, weights):
    image = small.convert("L" if comdefend.load(weights).config.channels == 1 else "RGB")
    data = comdefend.compress(image, weights)
    assert read_header(data).weights == weights
    # Floats are rounded otherwise in another order: a few bits near 0 turn, and pixels with them.
    difference = np.asarray(comdefend.decompress(data)).astype(int) - np.asarray(
        purified(image, weights)
    )
    assert (np.abs(difference) > 1).mean() < 5e-3


@pytest.mark.parametrize("weights", comdefend.weights())
def test_tables_make_photographs_smaller_for_all_weights(chelsea, weights):
    channels = comdefend.load(weights).config.channels
    image = chelsea.resize((120, 80)).convert("L" if channels == 1 else "RGB")
    found = info(comdefend.compress(image, weights))
    header = found.header
    assert any(header.tables_digest)
    bits = header.rates[-1] * header.code_size[0] * header.code_size[1]
    assert 8 * found.rates[-1] < (0.75 if weights.startswith("photo") else 0.95) * bits


def test_the_code_is_decoded_bit_for_bit(small, data):
    codec = open_codec("photo", engine="torch")
    container = read_container(data)
    code = read_code(container, codec.tables).read(128, EVERYTHING, EVERYTHING)
    raw = with_raw_streams(container, code)
    assert (read_code(raw, None).read(128, EVERYTHING, EVERYTHING) == code).all()
    assert off(comdefend.decompress(write_container(raw)), comdefend.decompress(data)) == 0


def with_raw_streams(container, code):
    """The same image without entropy coding."""
    header = replace(container.header, tables_digest=bytes(8))
    bounds = zip((0, *header.rates), header.rates, strict=False)
    streams = tuple((np.packbits(code[a:b]).tobytes(),) for a, b in bounds)
    return Container(header, container.profile, container.alpha, streams)


def test_another_engine_rebuilds_the_same_image_from_the_code(data):
    rebuilt = comdefend.decompress(data, engine="openvino")
    # Which may compute in bfloat16, where the processor does.
    least = 1 if open_codec("photo", 2, "openvino").engine.precision == "float32" else 16
    assert off(rebuilt, comdefend.decompress(data, engine="torch")) <= least


def test_a_file_holds_all_rates_of_its_weights(small, data, purified):
    assert info(data).header.bpps == (1, 2)
    assert off(comdefend.decompress(data, bpp=1), purified(small, "photo", 1)) <= 1
    assert off(comdefend.decompress(data, bpp=2), purified(small, "photo", 2)) <= 1
    for weights, bpp in (("photo@1", None), ("photo", 1)):
        lower = comdefend.compress(small, weights, bpp=bpp)
        assert info(lower).header.bpps == (1,)
        assert off(comdefend.decompress(lower), purified(small, "photo", 1)) <= 1
    with pytest.raises(InputError, match="compressed at 1, 2 bits per pixel, not 3"):
        comdefend.decompress(data, bpp=3)


def test_a_truncated_file_is_rebuilt_at_the_highest_whole_rate(data, small):
    found = info(data)
    first = len(data) - (found.rates[1] - found.rates[0]) - 8
    for end in (first, first + 20, len(data) - 1):
        with pytest.warns(TruncatedWarning, match="rebuilt from 1 of 2 bits per pixel"):
            rebuilt = comdefend.decompress(data[:end])
        assert off(rebuilt, comdefend.decompress(data, bpp=1)) == 0
        assert info(data[:end]).truncated
    assert not info(data).truncated
    with pytest.raises(ImageError, match="not even its lowest rate is whole"):
        comdefend.decompress(data[: first - 1])


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 40), (8, 8), (9, 17)])
@pytest.mark.parametrize("weights", ["photo", "rgb-12bpp-lite"])
def test_images_of_any_size(chelsea, size, weights):
    image = chelsea.crop((200, 100, 200 + size[0], 100 + size[1]))
    assert comdefend.decompress(comdefend.compress(image, weights)).size == size


def test_images_of_more_than_one_tile_of_code(chelsea, purified):
    image = chelsea.crop((0, 0, 300, 30))  # 300 places wide at this network
    data = comdefend.compress(image, "rgb-12bpp-lite")
    assert [len(streams) for streams in read_container(data).streams] == [2]
    difference = np.asarray(comdefend.decompress(data)).astype(int) - np.asarray(
        purified(image, "rgb-12bpp-lite")
    )
    assert (np.abs(difference) > 1).mean() < 5e-3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_alpha_is_kept_without_loss_and_grey_stays_grey(small, mode):
    image = small.convert(mode.removesuffix("A"))
    if mode.endswith("A"):
        image.putalpha(
            Image.fromarray(np.random.default_rng(0).integers(0, 256, (43, 61), np.uint8))
        )
    rebuilt = comdefend.decompress(comdefend.compress(image))
    assert (rebuilt.mode, rebuilt.size) == (mode, image.size)
    if mode.endswith("A"):
        assert off(rebuilt.getchannel("A"), image.getchannel("A")) == 0


def test_the_profile_is_kept_and_the_orientation_applied(small):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    small.save(file, format="png", icc_profile=profile, exif=exif)
    rebuilt = comdefend.decompress(comdefend.compress(Image.open(file)))
    assert rebuilt.info["icc_profile"] == profile
    assert (
        off(rebuilt, comdefend.decompress(comdefend.compress(small.rotate(-90, expand=True)))) <= 1
    )


def test_a_profile_that_is_too_large_is_left_behind(small):
    small = small.copy()
    small.info["icc_profile"] = bytes(1 << 23)
    assert not info(comdefend.compress(small)).header.profile


def test_the_image_is_not_changed(small):
    image = small.copy()
    before = image.info.copy()
    comdefend.compress(image)
    assert image.info == before
    assert off(image, small) == 0


def test_grey_weights_take_grey_images(small):
    with pytest.raises(ImageError, match="is a colour image"):
        comdefend.compress(small, "gray-4bpp")


@pytest.fixture
def own(tmp_path):
    config = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=4, downscale=2)
    save_weights(tmp_path / "mine.safetensors", ComDefend(config).eval(), {})
    return str(tmp_path / "mine.safetensors")


def test_own_weights_store_the_code_as_it_is_and_must_be_given(small, own, tmp_path):
    data = comdefend.compress(small, own)
    header = read_header(data)
    assert (header.weights, header.tables_digest) == ("mine", bytes(8))
    assert info(data).rates == (4 * 31 * 22 // 8,)
    assert comdefend.decompress(data, own).size == small.size
    with pytest.raises(
        InputError, match=r"weights 'mine' \(SHA-256 \w{16}...\), which do not ship"
    ):
        comdefend.decompress(data)
    with pytest.raises(InputError, match="not with 'photo' as it is here"):
        comdefend.decompress(data, "photo")
    with pytest.raises(DataMissingError, match="no such weight file"):
        comdefend.decompress(data, tmp_path / "none.safetensors")


def test_a_file_never_names_what_is_opened(data, own, monkeypatch):
    monkeypatch.setattr(zoo, "load", lambda *_: pytest.fail("weights were loaded"))
    for name in ("mine", "mine.safetensors", "cifar10-small"):
        with pytest.raises(InputError, match="do not ship"):
            comdefend.decompress(with_header(data, weights=name))
    with pytest.raises(InputError, match="not with 'rgb-12bpp' as it is here"):
        comdefend.decompress(with_header(data, weights="rgb-12bpp"))
    info(with_header(data, weights="mine.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"downscale": 4}, "does not fit its weights"),
        ({"rates": (60, 128)}, "does not fit its weights"),
        ({"value_bits": 1}, "does not fit its weights"),
        ({"tables_digest": b"another."}, "another version of comdefend"),
        ({"width": 20}, "damaged"),
        ({"height": 600}, "damaged|truncated"),
        ({"weights_digest": b"another."}, "not with 'photo' as it is here"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_headers_that_do_not_fit_are_refused(data, changes, message):
    with pytest.raises(ComdefendError, match=message):
        comdefend.decompress(with_header(data, **changes))


def test_a_bomb_is_refused_by_its_header(data):
    bomb = with_header(data, width=2**32 - 1, height=2**32 - 1)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="more than 179, and may be a decompression bomb"):
            comdefend.decompress(bomb)
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            info(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    with pytest.raises(ImageError, match=r"more than 0\.002"):
        comdefend.decompress(data, max_megapixels=0.002)
    with pytest.raises(InputError, match="max_megapixels must be above 0"):
        comdefend.decompress(data, max_megapixels=0)
