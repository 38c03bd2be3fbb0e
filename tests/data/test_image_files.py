import errno
import importlib.util
import io
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from comdefend.data import image_output as output
from comdefend.data.image import ReadImage
from comdefend.data.image_files import (
    FORMATS,
    SUFFIXES,
    image_paths,
    pixel_count,
    read_image,
    readable_suffixes,
)
from comdefend.data.image_output import write_image
from comdefend.errors import ImageError, OutputError

ORIENTATION = 0x0112


def noise(mode, size=(7, 5)):
    generator = np.random.default_rng(0)
    bands = len(Image.new(mode, (1, 1)).getbands())
    array = generator.integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(array[..., 0] if bands == 1 else array, mode if bands != 2 else None)


@pytest.mark.parametrize("suffix", [s for group in FORMATS.values() for s in group])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_is_read_and_written(tmp_path, suffix, mode):
    path = tmp_path / f"image{suffix}"
    image = noise(mode, (40, 30)).resize((40, 30)).reduce(1)
    smooth = image.resize((4, 3)).resize((40, 30), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "in.png")
    write_image(path, read_image(tmp_path / "in.png"))
    again = read_image(path).image
    error = np.abs(np.asarray(again.convert(mode), int) - np.asarray(smooth, int))
    assert error.max() <= (12 if SUFFIXES[suffix] == "jpeg" else 0)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"]),
    width=st.integers(1, 20),
    height=st.integers(1, 20),
)
def test_modes_and_sizes_come_back(tmp_path, mode, width, height):
    source = {"1": "L", "P": "RGB"}.get(mode, mode)
    image = noise(source, (width, height)).convert(mode)
    image.save(tmp_path / "in.png")
    read = read_image(tmp_path / "in.png")
    assert read.image.mode == {"1": "L", "P": "RGB"}.get(mode, mode)
    pixels = read.pixels(3)
    assert pixels.shape == (1, 3, height, width)
    same = read.with_pixels(pixels).image
    assert same.tobytes() == read.image.tobytes()


def test_alpha_is_kept_and_not_purified(tmp_path):
    image = noise("RGBA")
    image.save(tmp_path / "in.png")
    read = read_image(tmp_path / "in.png")
    black = read.with_pixels(np.zeros((1, 3, 5, 7), np.uint8))
    assert black.image.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    assert not np.asarray(black.image.convert("RGB")).any()


def test_palette_with_transparency_keeps_it(tmp_path):
    image = noise("RGB").quantize(8)
    image.save(tmp_path / "in.png", transparency=3)
    alpha = np.asarray(read_image(tmp_path / "in.png").alpha)
    assert ((alpha == 0) == (np.asarray(image) == 3)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_removed(tmp_path, orientation):
    image = noise("RGB")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "a camera"
    image.save(tmp_path / "in.png", exif=exif)
    read = read_image(tmp_path / "in.png")
    write_image(tmp_path / "out.png", read)
    with Image.open(tmp_path / "out.png") as out:
        assert ORIENTATION not in out.getexif()
        assert out.getexif()[0x010F] == "a camera"
        assert out.size == ((5, 7) if orientation >= 5 else (7, 5))
    if orientation == 3:
        assert read.image.tobytes() == image.rotate(180).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_metadata_is_kept(tmp_path, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "Kätzchen")
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    noise("RGB").save(
        tmp_path / "in.png", icc_profile=profile, exif=exif, pnginfo=info, dpi=(300, 300)
    )
    out = tmp_path / f"out{suffix}"
    write_image(out, read_image(tmp_path / "in.png"))
    with Image.open(out) as image:
        image.load()
        assert image.info["icc_profile"] == profile
        assert image.getexif()[0x010F] == "a camera"
        if suffix == ".png":
            assert image.text["Title"] == "Kätzchen"
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="a camera"/>
</rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_xmp_is_kept_and_turns_nothing_twice(tmp_path, suffix):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    noise("RGB").save(tmp_path / "in.jpg", exif=exif, xmp=XMP)
    out = tmp_path / f"out{suffix}"
    write_image(out, read_image(tmp_path / "in.jpg"))
    assert b"a camera" in out.read_bytes()
    with Image.open(out) as image:
        image.load()
        assert image.size == (5, 7)
        assert ImageOps.exif_transpose(image).size == (5, 7)
    write_image(tmp_path / "again.png", read_image(out))
    assert b"a camera" in (tmp_path / "again.png").read_bytes()


def test_metadata_that_does_not_fit_stays_behind(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "x" * 70_000
    noise("RGB").save(tmp_path / "in.png", exif=exif)
    write_image(tmp_path / "out.jpg", read_image(tmp_path / "in.png"))
    with Image.open(tmp_path / "out.jpg") as image:
        assert not image.getexif()


def png(width, height, depth=8, color=2, data=b""):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"not an image at all", "is not an image"),
    "truncated": (encoded(noise("RGB", (64, 64)), format="PNG")[:5000], "cannot be read"),
    "bomb": (png(65000, 65000), "decompression bomb"),
    "zero": (png(0, 5), "not an image|cannot be read"),
    "sixteen-gray": (encoded(Image.new("I;16", (4, 4)), format="PNG"), "16 bits"),
    "sixteen-rgb": (png(2, 2, depth=16, data=b"\0" + b"ab" * 6 + b"\0" + b"cd" * 6), "16 bits"),
    "cmyk": (encoded(Image.new("CMYK", (4, 4)), format="JPEG"), "mode CMYK"),
    "animated-gif": (
        encoded(noise("L"), format="GIF", save_all=True, append_images=[noise("L").rotate(180)]),
        "2 frames",
    ),
    "icon": (encoded(noise("RGB", (16, 16)), format="ICO"), "handled format"),
    "animated": (
        encoded(
            noise("RGB"), format="PNG", save_all=True, append_images=[noise("RGB").rotate(180)]
        ),
        "2 frames",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_words(tmp_path, name):
    data, message = BAD[name]
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]),
    where=st.floats(0, 1),
    replacement=st.binary(min_size=1, max_size=8),
)
def test_damage_never_raises_anything_else(tmp_path, suffix, where, replacement):
    data = bytearray(encoded(noise("RGB", (16, 16)), format=suffix))
    start = int(where * (len(data) - 1))
    data[start : start + len(replacement)] = replacement
    path = tmp_path / "damaged.png"
    path.write_bytes(data)
    try:
        assert read_image(path).image.mode in ("RGB", "RGBA", "L", "LA")
    except ImageError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message


def test_formats_that_cannot_hold_alpha_say_so(tmp_path):
    noise("RGBA").save(tmp_path / "in.png")
    read = read_image(tmp_path / "in.png")
    for suffix in (".jpg", ".bmp"):
        with pytest.raises(ImageError, match="alpha"):
            write_image(tmp_path / f"out{suffix}", read)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png"]


def test_writing_gives_up_once_stopped(tmp_path):
    noise("RGB", (64, 64)).save(tmp_path / "in.png")
    read = read_image(tmp_path / "in.png")
    stopped = threading.Event()
    write_image(tmp_path / "out.png", read, stopped)
    stopped.set()
    for suffix in SUFFIXES:
        with pytest.raises(ImageError, match="stopped"):
            write_image(tmp_path / f"other{suffix}", read, stopped)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_pixels_are_counted_without_decoding(tmp_path):
    data = encoded(noise("RGB", (64, 32)), format="PNG")
    (tmp_path / "cut.png").write_bytes(data[:1000])
    (tmp_path / "none.png").write_bytes(b"nonsense")
    (tmp_path / "bomb.png").write_bytes(png(65000, 65000))
    counts = [pixel_count(tmp_path / f"{n}.png") for n in ("cut", "none", "bomb", "nowhere")]
    assert counts == [64 * 32, 0, 0, 0]


def test_a_disk_that_is_full_is_told_from_an_image_that_does_not_fit(tmp_path, monkeypatch):
    noise("RGB").save(tmp_path / "in.png")
    read = read_image(tmp_path / "in.png")

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(output._Sink, "write", full)
        with pytest.raises(OutputError, match=r"out\.png: cannot be written \(No space left"):
            write_image(tmp_path / "out.png", read)
    long = ReadImage(Image.new("L", (70_000, 1)))
    with pytest.raises(ImageError, match="cannot be written as jpeg"):
        write_image(tmp_path / "out.jpg", long)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png"]


def test_unwritable_output_leaves_nothing(tmp_path):
    noise("RGB").save(tmp_path / "in.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        write_image(tmp_path / "file" / "out.png", read_image(tmp_path / "in.png"))


def test_folders_are_searched_in_order_and_links_not_followed(tmp_path):
    for name in ("b/2.PNG", "b/1.jpeg", "a.webp", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [p.relative_to(tmp_path).as_posix() for p in image_paths(tmp_path)]
    assert found == ["a.webp", "b/1.jpeg", "b/2.PNG"]


@pytest.mark.parametrize(("package", "suffix"), [("pillow_heif", ".heic"), ("pillow_jxl", ".jxl")])
def test_formats_of_plugins_are_read_where_they_are_installed(tmp_path, package, suffix):
    if not importlib.util.find_spec(package):
        assert suffix not in readable_suffixes()
        return
    assert suffix in readable_suffixes()
    smooth = noise("RGB", (4, 3)).resize((64, 48), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / f"in{suffix}")
    read = read_image(tmp_path / f"in{suffix}").image
    assert np.abs(np.asarray(read, int) - np.asarray(smooth, int)).mean() < 20


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_does_not_hold_the_pixels_never_takes_its_name(tmp_path, monkeypatch, format):
    noise("RGB", (40, 30)).save(tmp_path / "in.png", dpi=(300, 300))
    read = read_image(tmp_path / "in.png")
    save = Image.Image.save

    def damaged(image, file, **options):
        # An encoder that writes other pixels of large images.
        save(
            image.transpose(Image.Transpose.ROTATE_180) if image.width > 3 else image,
            file,
            **options,
        )

    monkeypatch.setattr(Image.Image, "save", damaged)
    with pytest.raises(ImageError, match="other pixels come back"):
        write_image(tmp_path / f"out{FORMATS[format][0]}", read)
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]
