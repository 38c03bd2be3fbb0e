"""Files with something wrong: what `test_fuzz.py` decompresses."""

import struct
import zlib

import numpy as np

from comdefend import zoo
from comdefend.codec.container import read_header

WORD = struct.Struct("<I")
SIZES = (0, 1, 7, 8, 9, 17, 40, 90, 2**16, 2**31, 2**32 - 1)
# Offsets in the header, as docs/codec.md has them.
WIDTH, HEIGHT, RATES, DIGEST, TABLES, NAME = 9, 13, 22, 23, 31, 39


def sealed(data):
    """The file with a checksum that fits its header, as far as it can be told where that ends."""
    if len(data) <= NAME:
        return bytes(data)
    end = NAME + 1 + data[NAME] + 2 * data[RATES]
    return bytes(data[:end]) + WORD.pack(zlib.crc32(data[:end])) + bytes(data[end + 4 :])


def parts(data):
    """Where the parts of a sound file begin."""
    header = read_header(data)
    at = 44 + len(header.weights) + 2 * len(header.rates)
    while at < len(data):
        yield at
        at += 8 + WORD.unpack_from(data, at)[0]


def part(content):
    """A part with a checksum that fits."""
    return WORD.pack(len(content)) + WORD.pack(zlib.crc32(content)) + content


def bits(data, rng):
    """A few bits anywhere."""
    found = bytearray(data)
    for at in rng.integers(0, len(found), rng.integers(1, 4)):
        found[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(found)


def end(data, rng):
    """The end is missing."""
    return data[: rng.integers(0, len(data))]


def stretch(data, rng):
    """A stretch is doubled or left out."""
    start, stop = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:start] + data[start:stop] * int(2 * rng.integers(0, 2)) + data[stop:]


def field(data, rng):
    """Some bytes of the header, most of all extreme ones, under a checksum that fits."""
    found, at = bytearray(data), int(rng.integers(8, 52))
    extreme = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    found[at : at + int(rng.integers(1, 5))] = bytes([extreme]) * int(rng.integers(1, 5))
    return sealed(found)


def size(data, rng):
    """Sizes that are huge and sizes that are near, under a checksum that fits."""
    found = bytearray(data)
    for at in (WIDTH, HEIGHT):
        if rng.random() < 0.7:
            WORD.pack_into(found, at, int(rng.choice(SIZES)))
    return sealed(found)


def weights(data, rng):
    """The name, the digest or both of other weights, or of none, under a checksum that fits."""
    header = read_header(data)
    names = [*zoo.weights(), "none", "../photo", "/etc/passwd", "photo.safetensors"]
    name = str(rng.choice(names))
    digest = bytes.fromhex(zoo.checksum(name))[:8] if name in zoo.weights() else rng.bytes(8)
    tables = [data[TABLES:NAME], bytes(8), rng.bytes(8)][rng.integers(0, 3)]
    name = name if rng.random() < 0.8 else header.weights
    digest = digest if rng.random() < 0.8 else data[DIGEST:TABLES]
    rest = data[NAME + 1 + len(header.weights) :]
    head = data[:DIGEST] + digest + tables + bytes([len(name)]) + name.encode()
    return sealed(head + rest)


def length(data, rng):
    """The length of a part: none, of what follows too, or more than there is."""
    found, at = bytearray(data), _any_part(data, rng)
    long = WORD.unpack_from(found, at)[0]
    WORD.pack_into(found, at, int(rng.choice([0, long + 4, long + 8, 2**32 - 1, 2**31, 8])))
    return bytes(found)


def nested(data, rng):
    """A part that holds the parts behind it, or is cut in two, under checksums that fit."""
    at = _any_part(data, rng)
    content = data[at + 8 :]
    if rng.random() < 0.5:
        return data[:at] + part(content)
    cut = int(rng.integers(0, WORD.unpack_from(data, at)[0] + 1))
    return data[:at] + part(content[:cut]) + part(content[cut:])


def content(data, rng):
    """Other bytes in a part, under a checksum that fits."""
    at = _any_part(data, rng)
    long = WORD.unpack_from(data, at)[0]
    found = bytearray(data[at + 8 : at + 8 + long])
    if found and rng.random() < 0.5:
        found[rng.integers(0, len(found))] ^= 1 << int(rng.integers(0, 8))
    else:
        found = bytearray(rng.bytes(int(rng.integers(0, long + 1)) & ~3))
    return data[:at] + part(bytes(found)) + data[at + 8 + long :]


def _any_part(data, rng):
    return int(rng.choice(list(parts(data))))


MUTATIONS = (bits, end, stretch, field, size, weights, length, nested, content)


def mutated(data, rng):
    """A file with one thing wrong, and sometimes two."""
    found = MUTATIONS[rng.integers(0, len(MUTATIONS))](data, rng)
    if rng.random() < 0.1 and found:
        found = bits(found, rng) if rng.random() < 0.5 else sealed(bits(found, rng))
    return found


def generator(seed):
    """What draws the mutations."""
    return np.random.default_rng(seed)
