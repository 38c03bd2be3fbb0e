"""Opening an engine: which one, in which precision, for which parts of a purifier."""

import copy
import importlib

import torch
from torch import Tensor, nn

from comdefend.engines.arrays import Run, default_threads, open_graph, open_part
from comdefend.engines.backends import ENGINES
from comdefend.engines.calibration import Calibration, check_calibration, shipped_calibration
from comdefend.engines.choice import Choice, choose
from comdefend.engines.engine import Computation, Engine, Network
from comdefend.errors import InputError
from comdefend.nn.device import device_of
from comdefend.nn.purifier import ComDefend


def open_engine(
    purifier: ComDefend,
    name: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    calibration: Calibration | None = None,
) -> Engine:
    """Open an engine for a purifier.

    ``auto`` takes the fastest engine and precision available: OpenVINO on a processor where it is
    installed, else torch; 8-bit integers where there is a calibration, else bfloat16, each only
    where the hardware computes in it, else float32. A table of what was measured for each class of
    processor decides; ``engine.why`` says how.

    Args:
        purifier: In evaluation mode; the engine computes on its device.
        name: ``auto``, or one of `ENGINES`.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``int8``.
        threads: On a processor; by default as many as torch uses.
        calibration: For ``int8``: from `comdefend.engines.calibrate` or `load_calibration`; by
            default the one that ships for the weights.

    Raises:
        InputError: An unknown engine or precision, one that the engine, the processor or the GPU
            does not have, no calibration, no thread, or a purifier that is in training mode or
            draws at random.
        WeightsError: The calibration does not fit the weights.
        ExtraMissingError: The engine is not installed.
    """
    _check_purifier(purifier)
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    # A copy, since the purifier may move to another device later.
    own = copy.deepcopy(purifier).requires_grad_(False)
    weights = own.weights()
    if calibration is not None:
        check_calibration(own.config, calibration, "calibration")
    elif weights is not None and precision in ("auto", "int8"):
        calibration = shipped_calibration(weights)
    calibrated = weights is not None and calibration is not None
    choice = choose(name, precision, str(device_of(own)), calibrated)
    count = default_threads() if threads is None else threads

    def open_own(part: str) -> Network:
        if weights is not None and ENGINES[choice.name].graphs:
            return _on_tensors(open_part(weights, part, choice, calibration, count))
        return _open(choice, _computation(own, part, choice.precision, count))

    return Engine(choice, own, open_own)


def open_network(
    network: nn.Module, example: Tensor, name: str, precision: str, threads: int
) -> Network:
    """Open an engine for any network of one tensor to one, for example a classifier.

    Args:
        network: In evaluation mode, on the processor.
        example: An input; all inputs must have its shape.
        name: One of `ENGINES`.
        precision: ``float32`` or ``bfloat16``.
        threads: How many threads compute.

    Raises:
        InputError: A precision that the engine or the processor does not have.
        ExtraMissingError: The engine is not installed.
    """
    choice = choose(name, precision, str(example.device), calibrated=False)
    computation = Computation(
        network=copy.deepcopy(network).requires_grad_(False),
        example=example,
        multiple=None,
        precision=choice.precision,
        threads=threads,
    )
    return _open(choice, computation)


def _open(choice: Choice, computation: Computation) -> Network:
    """Open any network."""
    if ENGINES[choice.name].graphs:
        from comdefend.engines.graphs import traced

        return _on_tensors(open_graph(choice, traced(computation), computation.threads))
    module, _, function = ENGINES[choice.name].opener.partition(":")
    network: Network = getattr(importlib.import_module(module), function)(computation)
    return network


def _on_tensors(run: Run) -> Network:
    return lambda values: torch.from_numpy(run(values.contiguous().numpy()))


def _computation(
    purifier: ComDefend, part: str, precision: str, threads: int | None
) -> Computation:
    """Return how to compute a part of a purifier."""
    config = purifier.config
    network, channels, multiple = {
        # One graph: the code inside is neither copied nor turned into float32.
        "purifier": (
            nn.Sequential(purifier.encoder, purifier.binarizer, purifier.decoder),
            config.channels,
            config.multiple,
        ),
        "encoder": (purifier.encoder, config.channels, config.multiple),
        "decoder": (purifier.decoder, config.code_maps, config.reduction),
    }[part]
    return Computation(
        network=network.eval(),
        example=torch.rand(2, channels, 8 * multiple, 8 * multiple, device=purifier.device),
        multiple=multiple,
        precision=precision,
        threads=threads or torch.get_num_threads(),
    )


def _check_purifier(purifier: ComDefend) -> None:
    if purifier.training:
        raise InputError("the purifier is in training mode; call its eval() first")
    for part in purifier.modules():
        if getattr(part, "random", False) is True:
            raise InputError(f"{type(part).__name__} draws at random, which no engine does")
