"""What compresses and decompresses images: a purifier that is opened, and its tables."""

import functools
from dataclasses import dataclass
from pathlib import Path

import torch

from comdefend import zoo
from comdefend.codec.container import DIGEST, is_name
from comdefend.codec.tables import Tables, shipped_tables
from comdefend.common.extras import require_extra
from comdefend.engines.engine import Engine
from comdefend.engines.opening import open_engine
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend


@dataclass(frozen=True)
class Codec:
    """What compresses and decompresses images, at one rate.

    Attributes:
        name: Of the weights, as files tell it.
        digest: First bytes of the SHA-256 of the weight file.
        engine: Computes encoder and decoder, at the rate.
        tables: Probability tables, or None: the code is then stored as it is.
    """

    name: str
    digest: bytes
    engine: Engine
    tables: Tables | None

    @property
    def config(self) -> PurifierConfig:
        """The architecture, at the rate."""
        return self.engine.config


def open_codec(
    weights: str | Path,
    bpp: float | None = None,
    engine: str = "auto",
    device: torch.device | str = "cpu",
) -> Codec:
    """Open a codec. The last few are kept, so that opening one again costs nothing.

    Args:
        weights: The name of shipped weights, or the path of a weight file.
        bpp: Bits per pixel; replaces the rate in the name. By default that rate, or the highest.
        engine: What computes, as for `open_engine`.
        device: Where it computes.

    Raises:
        InputError, DataMissingError, WeightsError, ExtraMissingError: As for `zoo.load` and
            `open_engine`.
    """
    name, named = zoo.split_rate(str(weights))
    bpp = named if bpp is None else bpp
    return _open(name, zoo.checksum(name), bpp, engine, str(device))


def config_of(weights: str) -> PurifierConfig:
    """Return the architecture of weights, at their highest rate; name and errors as for `zoo.load`.

    It is kept, as opened codecs are.
    """
    return _config(weights, zoo.checksum(weights))


@functools.lru_cache(maxsize=16)
def _config(name: str, sha256: str) -> PurifierConfig:
    return _binary(name).config


def _binary(name: str, device: str = "cpu") -> ComDefend:
    purifier = zoo.load(name, device)
    if not purifier.config.binary:
        raise InputError(
            f"weights '{name}': their code is not binary, so there is nothing to store"
        )
    return purifier


# The checksum is there so that a file that has changed is opened anew.
@functools.lru_cache(maxsize=8)
def _open(name: str, sha256: str, bpp: float | None, engine: str, device: str) -> Codec:
    whole = _binary(name, device)
    tables = shipped_tables(sha256, whole.config)
    if tables is not None:
        # Before any image is computed whose code cannot be coded then.
        require_extra("codec")
    purifier = whole if bpp is None else whole.at(bpp)
    stem = Path(name).stem
    return Codec(
        name=stem if is_name(stem) else "own",
        digest=bytes.fromhex(sha256)[:DIGEST],
        engine=open_engine(purifier, engine),
        tables=tables,
    )
