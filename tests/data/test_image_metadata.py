"""Metadata of every kind, whole and damaged: the pixels of every output are right."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin

from comdefend.data.image_files import FORMATS, read_image
from comdefend.data.image_output import write_image

EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
IMAGE = Image.fromarray(np.kron(PIXELS, np.ones((4, 4, 1), np.uint8)))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" b="a camera"/></x:xmpmeta>'
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RATIONAL = TiffImagePlugin.IFDRational


def encoded(format="JPEG", image=IMAGE, **options):
    file = io.BytesIO()
    image.save(file, format, **({"quality": 95} if format == "JPEG" else {}) | options)
    return file.getvalue()


def exif(main=None, camera=None, gps=None):
    block = Image.Exif()
    for tag, value in (main or {}).items():
        block[tag] = value
    for tag, entries in ((EXIF, camera), (GPS, gps)):
        if entries is not None:
            block[tag] = entries
    return block


# What Photoshop and cropping tools leave in a JPEG: the layout of the file that it once was.
LAYOUT = {
    0x100: 8, 0x101: 20, 0x102: (8, 8, 8), 0x103: 6, 0x106: 6, 0x10A: 2, 0x111: 8, 0x115: 3,
    0x116: 7, 0x117: 77, 0x11C: 2, 0x13D: 2, 0x142: 16, 0x143: 16, 0x152: 1, 0x153: 3,
    0x212: (2, 2), 0x213: 1, 0x10F: "a camera",
}  # fmt: skip
CAMERA = exif(
    {0x10F: "a camera", 0x110: "model 1", 0x112: 1, 0x132: "2020:01:01 00:00:00"},
    {
        0x829A: RATIONAL(1, 125), 0x829D: RATIONAL(28, 10), 0x8827: 200, 0x9000: b"0232",
        0x9003: "2020:01:01 00:00:00", 0x9101: b"\1\2\3\0", 0x927C: b"maker" * 40,
        0x9286: b"ASCII\0\0\0words", 0xA001: 1, 0xA002: 99, 0xA003: 77, 0xA005: 4242,
        0xA432: (RATIONAL(24), RATIONAL(70), RATIONAL(0, 0), RATIONAL(0, 0)),
    },
    {0: b"\2\3\0\0", 1: "N", 2: (RATIONAL(48), RATIONAL(8), RATIONAL(0)), 5: b"\0"},
)  # fmt: skip


def chunk(kind, body, wrong=0):
    checksum = struct.pack(">I", zlib.crc32(kind + body) ^ wrong)
    return struct.pack(">I", len(body)) + kind + body + checksum


def png_with(*chunks):
    data = encoded("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def text_png():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "Kätzchen", zip=True)
    info.add_itxt("Title 2", "小猫")
    return encoded("PNG", pnginfo=info)


def empty_gps():
    # A directory of no entries at the end of the block.
    data = exif({0x10F: "a camera", 0x112: 1}, gps={1: "N"}).tobytes()
    at = data.index(struct.pack(">HHI", GPS, 4, 1)) + 8
    (start,) = struct.unpack_from(">I", data, at)
    return data[: 6 + start] + b"\0" * 6


def tiff_with(**tags):
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[int(tag[1:])] = value
    return encoded("TIFF", tiffinfo=directory)


def dangling(tag):
    """EXIF of which a directory lies beyond the end."""
    data = bytearray(exif({0x10F: "a camera"}, {0x8827: 200}, {1: "N"}).tobytes())
    at = data.index(struct.pack(">HHI", tag, 4, 1)) + 8
    data[at : at + 4] = struct.pack(">I", 60_000)
    return bytes(data)


LARGE = bytes(np.random.default_rng(1).integers(0, 256, 1 << 21, dtype=np.uint8))

SOUND = {
    "nothing": encoded(),
    "camera": encoded(exif=CAMERA),
    "camera in a PNG": encoded("PNG", exif=CAMERA),
    "camera in a WebP": encoded("WEBP", lossless=True, exif=CAMERA),
    "camera in a TIFF": encoded("TIFF", exif=CAMERA.tobytes()),
    "layout": encoded(exif=exif(LAYOUT)),
    "layout in a PNG": encoded("PNG", exif=exif(LAYOUT)),
    "profile": encoded(icc_profile=PROFILE),
    "resolution": encoded(dpi=(300, 200)),
    "XMP": encoded("PNG", exif=exif({0x112: 6}), xmp=XMP),
    "comment": encoded(comment=b"a c\xf6mment"),
    "texts": text_png(),
    "turned": encoded(exif=exif({0x112: 6, 0x10F: "a camera"}, gps={1: "N"})),
    "turned in a TIFF": encoded("TIFF", exif=exif({0x112: 8}).tobytes()),
    "CMYK's profile": encoded("TIFF", icc_profile=b"nonsense"),
    "grey": encoded("PNG", IMAGE.convert("L"), exif=CAMERA, icc_profile=PROFILE),
    "everything": encoded(exif=CAMERA, icc_profile=PROFILE, dpi=(72, 72), xmp=XMP, comment=b"c"),
}
DAMAGED = {
    "empty GPS": encoded(exif=empty_gps()),
    "empty GPS, turned": encoded(exif=empty_gps().replace(
        struct.pack(">HHIHH", 0x112, 3, 1, 1, 0), struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    )),
    "dangling camera": encoded(exif=dangling(EXIF)),
    "dangling GPS": encoded(exif=dangling(GPS)),
    "nonsense for EXIF": encoded(exif=b"Exif\0\0nonsense"),
    "broken eXIf": png_with(chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff\1\1")),
    "eXIf of nonsense": png_with(chunk(b"eXIf", b"nonsense")),
    "eXIf of a wrong checksum": png_with(chunk(b"eXIf", b"II*\0", wrong=1)),
    "much zTXt": png_with(
        chunk(b"tEXt", b"Title\0short"), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 22)))
    ),
    "damaged zTXt": png_with(chunk(b"zTXt", b"a\0\0nonsense")),
    "much iTXt": png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(1 << 22)))),
    "large profile in a PNG": png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(LARGE))),
    "damaged profile in a PNG": png_with(chunk(b"iCCP", b"a\0\0nonsense")),
    "large profile in a JPEG": encoded(icc_profile=LARGE),
    "no pHYs": png_with(chunk(b"pHYs", b"\0\0")),
    "0/0 dpi": tiff_with(_282=RATIONAL(0, 0), _283=RATIONAL(0, 0), _296=2),
    "0 dpi": tiff_with(_282=RATIONAL(0, 1), _283=RATIONAL(0, 1), _296=2),
    "huge dpi": tiff_with(_282=RATIONAL(4_000_000_000, 1), _283=RATIONAL(1, 1), _296=2),
    "XMP of nonsense": encoded("PNG", xmp=b"\xff\xfe\0"),
    "long XMP": encoded("WEBP", lossless=True, xmp=b"x" * 80_000),
    "long EXIF": encoded("PNG", exif=exif({0x10E: "x" * 80_000}, {0x8827: 200})),
}  # fmt: skip
DAMAGED["TIFF with a dangling camera"] = encoded(
    "TIFF", exif=exif({}, {0x8827: 200}).tobytes()
).replace(struct.pack("<HHI", EXIF, 4, 1), struct.pack("<HHI", EXIF, 4, 7))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", [*SOUND, *DAMAGED])
def test_every_kind_of_metadata_in_every_format_leaves_the_pixels_right(tmp_path, kind, format):
    (tmp_path / "in").write_bytes((SOUND | DAMAGED)[kind])
    read = read_image(tmp_path / "in")
    out = tmp_path / f"out{FORMATS[format][0]}"
    notes = write_image(out, read)
    with Image.open(out, formats=[format]) as opened:
        opened.load()
        assert opened.format == format.upper()
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"), int)
    expected = np.asarray(read.image.convert("RGB"), int)
    assert upright.shape == expected.shape
    assert np.abs(upright - expected).mean() <= (4 if format == "jpeg" else 0)
    if kind in SOUND:
        assert read.notes == ()
        assert not any("cannot" in note for note in notes)


@pytest.mark.parametrize("kind", [*SOUND, *DAMAGED])
def test_the_pixels_read_are_those_of_the_photograph(tmp_path, kind):
    (tmp_path / "in").write_bytes((SOUND | DAMAGED)[kind])
    image = read_image(tmp_path / "in").image
    turn = {
        "turned": Image.Transpose.ROTATE_270, "XMP": Image.Transpose.ROTATE_270,
        "empty GPS, turned": Image.Transpose.ROTATE_270,
        "turned in a TIFF": Image.Transpose.ROTATE_90,
    }.get(kind)  # fmt: skip
    photo = IMAGE.convert("L") if kind == "grey" else IMAGE
    photo = photo.transpose(turn) if turn is not None else photo
    assert image.size == photo.size
    difference = np.asarray(image, int) - np.asarray(photo, int)
    assert np.abs(difference).mean() < 20


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff"])
def test_what_a_camera_tells_goes_along_and_how_it_stored_pixels_does_not(tmp_path, format):
    (tmp_path / "in.jpg").write_bytes(SOUND["camera"])
    out = tmp_path / f"out{FORMATS[format][0]}"
    assert not any("EXIF" in note for note in write_image(out, read_image(tmp_path / "in.jpg")))
    with Image.open(out) as opened:
        block = opened.getexif()
        camera, gps = block.get_ifd(EXIF), block.get_ifd(GPS)
        assert (block[0x10F], block[0x110]) == ("a camera", "model 1")
        assert camera[0x829A] == pytest.approx(1 / 125)
        assert (camera[0x8827], camera[0x9003]) == (200, "2020:01:01 00:00:00")
        assert (gps[1], tuple(map(float, gps[2]))) == ("N", (48, 8, 0))
        assert not {0x9101, 0xA002, 0xA003, INTEROP} & set(camera)


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("dangling camera", "EXIF left behind: cannot be read"),
        ("eXIf of nonsense", "EXIF left behind: cannot be read"),
        ("much zTXt", "metadata left behind: cannot be read"),
        ("large profile in a PNG", "metadata left behind: cannot be read"),
        ("large profile in a JPEG", "colour profile left behind: cannot be written as png"),
        ("0/0 dpi", "resolution left behind: cannot be read"),
        ("huge dpi", "resolution left behind: cannot be written as png"),
    ],
)
def test_what_is_left_behind_is_said(tmp_path, kind, note):
    (tmp_path / "in").write_bytes(DAMAGED[kind])
    read = read_image(tmp_path / "in")
    assert any(note in found for found in (*read.notes, *write_image(tmp_path / "out.png", read)))


def test_the_rest_of_damaged_metadata_goes_along(tmp_path):
    (tmp_path / "in").write_bytes(DAMAGED["much zTXt"])
    assert read_image(tmp_path / "in").metadata["texts"] == {"Title": "short"}
    (tmp_path / "in").write_bytes(DAMAGED["dangling camera"])
    (tmp_path / "out.png").unlink(missing_ok=True)
    write_image(tmp_path / "out.png", read_image(tmp_path / "in"))
    with Image.open(tmp_path / "out.png") as opened:
        assert opened.getexif()[0x10F] == "a camera"
        assert opened.getexif().get_ifd(GPS) == {1: "N"}


def test_metadata_that_a_format_does_not_hold_is_named(tmp_path):
    (tmp_path / "in").write_bytes(SOUND["everything"])
    notes = write_image(tmp_path / "out.bmp", read_image(tmp_path / "in"))
    assert notes == (
        "EXIF left behind: bmp does not hold it", "XMP left behind: bmp does not hold it",
        "colour profile left behind: bmp does not hold it",
        "comment left behind: bmp does not hold it",
    )  # fmt: skip
