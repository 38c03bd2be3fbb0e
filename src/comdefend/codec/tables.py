"""Probability tables: what entropy coding knows of the codes of some weights, in integers alone.

A value of the code is predicted by a weighted sum of those coded before it. The sum, and how much
these differ from place to place, choose one of a few hundred distributions, which were counted on
photographs. All of it is integers, so that every machine decodes the same code.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from comdefend.codec.container import DIGEST
from comdefend.common.atomic import atomic_write
from comdefend.errors import WeightsError
from comdefend.nn.config import PurifierConfig

BINS = 64
"""Predictions that are told apart."""
CLASSES = 8
"""Activities that are told apart, for each value and parity."""
SCALES = 24
"""Widths of distributions that are told apart, over all values."""
FRACTION = 10
"""Bits of a prediction behind the binary point; before it, a bin counts as 1."""
TOTAL = 1 << 16
"""Sum of the frequencies of a distribution."""

_SHIPPED = resources.files("comdefend.codec") / "tables"


@dataclass(frozen=True, eq=False)
class Tables:
    """Probability tables for V values of L levels each.

    Parity 0 are the even rows of a tile, which are coded first, parity 1 the odd ones.

    Attributes:
        weights: (V, 2, 5, V) int16: for a value and a parity, what each value before it counts, at
            the same place, and to the left, to the right, above and below of it.
        own: (V, 2) int16: at parity 1, what the same value above and below counts, and what it
            counts to the left and right of these.
        bias: (V, 2) int32.
        edges: (V, 2, CLASSES - 1) int32: the activities that divide the classes.
        scales: (V, 2, CLASSES) uint8: which width each class has.
        frequencies: (SCALES, BINS, L) uint16: for a width and a prediction, how often each level
            occurs, at least 1, in all `TOTAL`.
    """

    weights: npt.NDArray[np.int16]
    own: npt.NDArray[np.int16]
    bias: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int32]
    scales: npt.NDArray[np.uint8]
    frequencies: npt.NDArray[np.uint16]

    @property
    def levels(self) -> int:
        """Number L of levels."""
        return self.frequencies.shape[2]

    @functools.cached_property
    def digest(self) -> bytes:
        """What names these tables in a file."""
        digest = hashlib.sha256()
        for name in _SHAPES:
            array = getattr(self, name)
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.digest()[:DIGEST]

    @functools.cached_property
    def distributions(self) -> npt.NDArray[np.float64]:
        """The frequencies as the entropy coder takes them, (SCALES * BINS, L)."""
        return self.frequencies.reshape(-1, self.levels).astype(np.float64)


_SHAPES: dict[str, tuple[type, Callable[[int, int], tuple[int, ...]]]] = {
    "weights": (np.int16, lambda values, _: (values, 2, 5, values)),
    "own": (np.int16, lambda values, _: (values, 2)),
    "bias": (np.int32, lambda values, _: (values, 2)),
    "edges": (np.int32, lambda values, _: (values, 2, CLASSES - 1)),
    "scales": (np.uint8, lambda values, _: (values, 2, CLASSES)),
    "frequencies": (np.uint16, lambda _, levels: (SCALES, BINS, levels)),
}


def save_tables(path: Path, tables: Tables, sha256: str, record: Mapping[str, Any]) -> None:
    """Write tables, atomically.

    Args:
        path: The ``.safetensors`` file to write.
        tables: The tables.
        sha256: Of the weight file whose codes they tell.
        record: How they were made, JSON types only.

    Raises:
        OutputError: The file cannot be written.
    """
    arrays = {name: getattr(tables, name) for name in _SHAPES}
    metadata = {"kind": "tables", "weights": sha256, "record": json.dumps(record)}
    atomic_write(path, save(arrays, metadata))


def shipped_tables(sha256: str, config: PurifierConfig) -> Tables | None:
    """Return the tables that ship for a weight file, or None.

    Args:
        sha256: Of the weight file.
        config: Of its network, at its highest rate.

    Raises:
        WeightsError: They are corrupt.
    """
    path = _places().get(sha256)
    return None if path is None else read_tables(path, config)


def read_tables(path: Path, config: PurifierConfig) -> Tables:
    """Return the tables in a file.

    Raises:
        WeightsError: The file is corrupt, or does not fit the network.
    """
    values, levels = config.code_maps // config.value_bits, 2**config.value_bits
    expected = {
        name: (list(shape(values, levels)), kind) for name, (kind, shape) in _SHAPES.items()
    }
    try:
        with safe_open(str(path), framework="numpy") as file:
            # Names and shapes come from the header: compared before any array is read.
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if found != {name: shape for name, (shape, _) in expected.items()}:
                raise WeightsError(f"{path}: tables that do not fit the weights")
            arrays = {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error
    if any(arrays[name].dtype != kind for name, (_, kind) in expected.items()):
        raise WeightsError(f"{path}: tables of another type")
    tables = Tables(**arrays)
    sums = tables.frequencies.sum(2, dtype=np.int64)
    if not (
        (sums == TOTAL).all() and tables.frequencies.min() > 0 and tables.scales.max() < SCALES
    ):
        raise WeightsError(f"{path}: holds no probability tables")
    return tables


@functools.cache
def _places() -> dict[str, Path]:
    """Return the shipped tables by the SHA-256 of their weights."""
    paths = [Path(str(f)) for f in _SHIPPED.iterdir() if f.name.endswith(".safetensors")]
    return {_weights_of(path): path for path in paths}


def _weights_of(path: Path) -> str:
    try:
        with safe_open(str(path), framework="numpy") as file:
            return (file.metadata() or {}).get("weights", "")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error
