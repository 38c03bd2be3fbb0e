"""Purifiers computed on arrays, without torch."""

import importlib
import os
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from comdefend.common.processor import filter_bits
from comdefend.data.image import Bytes
from comdefend.engines.backends import ENGINES
from comdefend.engines.calibration import Calibration, shipped_calibration
from comdefend.engines.choice import Choice, choose
from comdefend.engines.purifier_graph import Rounding, purifier_graph
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.weights import Array, PurifierWeights

Run = Callable[[Array], Array]
"""Float32 to float32, contiguous: a network, as an engine computes it."""


class ByteEngine:
    """A purifier in use on 8-bit images, without torch. Several threads may call it.

    Args:
        choice: What computes.
        config: The architecture.
        run: Images whose sides ``config.multiple`` divides to purified images.
    """

    def __init__(self, choice: Choice, config: PurifierConfig, run: Run) -> None:
        self.name = choice.name
        self.precision = choice.precision
        self.config = config
        self._run = run

    def purify_bytes(self, images: Bytes) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        """Purify images: (N, C, H, W) uint8 -> the same, and (N,), which results are finite."""
        height, width = images.shape[-2:]
        padded = images
        for axis, length in ((-2, height), (-1, width)):
            padded = padded.take(_reflected(length, self.config.multiple), axis)
        floats = self._run(np.divide(padded, 255, dtype=np.float32))[..., :height, :width]
        finite = np.asarray(np.isfinite(floats).all((1, 2, 3)))
        with np.errstate(invalid="ignore"):
            return np.rint(floats * 255).astype(np.uint8), finite


def open_byte_engine(
    weights: PurifierWeights, name: str = "auto", precision: str = "auto"
) -> ByteEngine:
    """Open an engine that takes graphs, on the processor.

    Args:
        weights: The purifier.
        name: ``auto``, ``onnxruntime`` or ``openvino``.
        precision: As for `comdefend.open_engine`.

    Raises:
        InputError: A precision that the engine or the processor does not have, or no calibration.
        ExtraMissingError: The engine is not installed.
    """
    choice, calibration = _chosen(weights, name, precision)
    if not ENGINES[choice.name].graphs:
        raise InputError(f"engine '{choice.name}' needs a ComDefend: see comdefend.open_engine")
    run = open_part(weights, "purifier", choice, calibration, default_threads())
    return ByteEngine(choice, weights.config, run)


def choice_for(weights: PurifierWeights, name: str = "auto", precision: str = "auto") -> Choice:
    """Return what computes a purifier on the processor; where ``auto`` chooses, also why.

    Raises:
        InputError: As for `open_byte_engine`.
    """
    return _chosen(weights, name, precision)[0]


def _chosen(
    weights: PurifierWeights, name: str, precision: str
) -> tuple[Choice, Calibration | None]:
    calibration = shipped_calibration(weights) if precision in ("auto", "int8") else None
    return choose(name, precision, "cpu", calibration is not None), calibration


def open_part(
    weights: PurifierWeights,
    part: str,
    choice: Choice,
    calibration: Calibration | None,
    threads: int | None,
) -> Run:
    """Open a purifier or a part of it in an engine that takes graphs.

    Args:
        weights: The purifier.
        part: As for `purifier_graph`.
        choice: Engine and precision.
        calibration: For ``int8``.
        threads: How many compute; None: one a core.

    Raises:
        ExtraMissingError: The engine is not installed.
    """
    rounding = None
    if choice.precision == "int8":
        assert calibration is not None
        rounding = Rounding(calibration, filter_bits() or 8)
    graph = purifier_graph(weights.config, weights.tensors, part, rounding)
    return open_graph(choice, graph, threads)


def open_graph(choice: Choice, graph: bytes, threads: int | None) -> Run:
    """Open an ONNX file in an engine that takes graphs; see `open_part`."""
    module, _, function = ENGINES[choice.name].opener.partition(":")
    run: Run = getattr(importlib.import_module(module), function)(graph, choice.precision, threads)
    return run


def default_threads() -> int | None:
    """Return how many threads compute: as many as torch's, where it is there; None: one a core."""
    if torch := sys.modules.get("torch"):
        count: int = torch.get_num_threads()
        return count
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else None


def _reflected(length: int, factor: int) -> npt.NDArray[np.intp]:
    """Return the indices that pad a side by reflection: see `comdefend.nn.images`."""
    position = np.arange(-(-length // factor) * factor) % max(2 * (length - 1), 1)
    return np.minimum(position, 2 * (length - 1) - position)
