import struct
import zlib

import pytest
from msgspec.structs import replace

from comdefend.codec.container import (
    MAGIC,
    Container,
    Header,
    check_pixels,
    code_tiles,
    is_name,
    raw_length,
    read_container,
    read_header,
    write_container,
)
from comdefend.errors import ImageError

HEADER = Header(
    width=20, height=11, channels=3, alpha=True, profile=True, weights="photo",
    weights_digest=b"weights.", tables_digest=bytes(8), downscale=8, reduction=1, value_bits=4,
    rates=(8, 16),
)  # fmt: skip
# 3x2 places: a byte of 8 maps each.
CONTAINER = Container(HEADER, b"profile", b"alpha", ((b"abcdef",), (b"ghijkl",)))


def resealed(data, at, change):
    """A file with another byte in its header, and a checksum that fits."""
    end = len(write_container(Container(HEADER, b"", b"", ()))) - 4
    header = bytearray(data[:end])
    header[at : at + len(change)] = change
    return bytes(header) + struct.pack("<I", zlib.crc32(header)) + data[end + 4 :]


def test_every_byte_is_where_the_document_says():
    data = write_container(CONTAINER)
    header = (
        b"\x89comd\r\n\x1a" + b"\x01" + b"\x14\0\0\0" + b"\x0b\0\0\0" + b"\x03" + b"\x03"
        b"\x08\x01\x04\x02" + b"weights." + bytes(8) + b"\x05photo" + b"\x08\0\x10\0"
    )  # fmt: skip
    parts = b"".join(
        len(part).to_bytes(4, "little") + zlib.crc32(part).to_bytes(4, "little") + part
        for part in (b"profile", b"alpha", b"abcdef", b"ghijkl")
    )
    assert data == header + zlib.crc32(header).to_bytes(4, "little") + parts


def test_what_is_written_is_read():
    assert read_container(write_container(CONTAINER)) == CONTAINER
    assert HEADER.code_size == (2, 3)
    assert HEADER.bpps == (0.125, 0.25)


def test_a_lower_rate_does_not_look_at_what_follows():
    data = write_container(CONTAINER)
    lowest = read_container(data[:-14] + b"anything", 1)
    assert lowest.streams == CONTAINER.streams[:1]


@pytest.mark.parametrize("left_out", range(1, 15))
def test_a_truncated_file_has_the_rates_that_are_whole(left_out):
    found = read_container(write_container(CONTAINER)[:-left_out])
    assert found.streams == CONTAINER.streams[:1]


def test_a_file_without_a_whole_rate_says_so():
    data = write_container(CONTAINER)
    for end in range(len(data) - 14):
        with pytest.raises(ImageError, match=r"truncated|not a compressed image"):
            read_container(data[:end])


def test_a_part_that_does_not_fit_its_checksum_or_its_place_is_refused():
    data = bytearray(write_container(CONTAINER))
    data[-1] ^= 1
    with pytest.raises(ImageError, match="does not fit its checksum"):
        read_container(bytes(data))
    longer = replace(CONTAINER, streams=((b"abcdefg",), (b"ghijkl",)))
    with pytest.raises(ImageError, match="a part of 7 bytes where at most 6 fit"):
        read_container(write_container(longer))
    with pytest.raises(ImageError, match="more follows"):
        read_container(write_container(CONTAINER) + b"x")


@pytest.mark.parametrize("at", range(8, 48))
def test_a_changed_byte_of_the_header_does_not_fit_its_checksum(at):
    data = bytearray(write_container(CONTAINER))
    data[at] ^= 0x40
    with pytest.raises(ImageError, match=r"checksum|version|truncated"):
        read_header(bytes(data))


@pytest.mark.parametrize(
    ("at", "change"),
    [
        (9, b"\0\0\0\0"),  # no width
        (17, b"\x02"),  # two channels
        (18, b"\x80"),  # an unknown flag
        (19, b"\0"), (19, b"\x11"), (20, b"\0"), (21, b"\x09"),  # geometry
        (21, b"\x03"),  # maps that are no whole number of values
        (45, b"\x10\0\x08\0"),  # rates that descend
        (45, b"\x10\0\x10\0"),
        (40, b"../.."), (40, b"a\0b\nc"), (40, b"\xff...."),  # names that are none
    ],
)  # fmt: skip
def test_a_header_that_makes_no_sense_is_refused(at, change):
    with pytest.raises(ImageError, match="makes no sense"):
        read_header(resealed(write_container(CONTAINER), at, change))


def test_other_files_and_versions_are_refused():
    for data in (b"", b"\x89PNG\r\n\x1a\n" + bytes(60), MAGIC[:7]):
        with pytest.raises(ImageError, match="not a compressed image"):
            read_header(data)
    with pytest.raises(ImageError, match="version 2"):
        read_header(resealed(write_container(CONTAINER), 8, b"\x02"))


def test_large_images_are_refused():
    check_pixels(HEADER, 220)
    with pytest.raises(ImageError, match="decompression bomb"):
        check_pixels(HEADER, 219)


def test_tiles_cover_a_code_and_tell_how_long_their_parts_may_be():
    tiles = list(code_tiles((300, 257)))
    assert [(r.start, r.stop, c.start, c.stop) for r, c in tiles] == [
        (0, 256, 0, 256), (0, 256, 256, 257), (256, 300, 0, 256), (256, 300, 256, 257),
    ]  # fmt: skip
    assert [raw_length(12, *tile) for tile in tiles] == [98304, 384, 16896, 66]


def test_names_can_be_printed_and_are_no_paths():
    assert is_name("rgb-12bpp_2.1")
    for text in ("", "a/b", "a\\b", "a b", "ä", "a" * 65, "\x1b[0m"):
        assert not is_name(text), text
