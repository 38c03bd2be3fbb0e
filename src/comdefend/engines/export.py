"""Purifiers and defended classifiers as files for programs without comdefend."""

import io
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import comdefend
from comdefend.classifiers import open_classifier
from comdefend.common.atomic import atomic_write, make_folder
from comdefend.common.extras import require, require_extra
from comdefend.common.provenance import commit
from comdefend.common.schema import to_plain
from comdefend.defenses import DefendedClassifier
from comdefend.engines.graphs import (
    convolution_dims,
    openvino_core,
    require_openvino,
    to_onnx,
    to_openvino,
    trace,
)
from comdefend.errors import DataMissingError, EngineError, InputError, WeightsError
from comdefend.nn.batches import fingerprint
from comdefend.nn.purifier import ComDefend
from comdefend.weights import zoo

SUFFIXES = (".onnx", ".xml", ".pt2")
"""ONNX, OpenVINO IR (beside it a ``.bin``), a torch.export program."""

INPUTS = ("float", "uint8")

# What each part takes and gives.
_PARTS = {
    "purifier": ("images", "purified"),
    "encoder": ("images", "code"),
    "decoder": ("code", "purified"),
}
_DEFENDED = ("images", "logits")
# What 1.0 is as a byte.
_BYTES = {"images": 255, "purified": 255, "code": 1}

MAX_ERROR = 1e-4
"""Power of the difference between file and network, as a share of the output's power: a bit in ten
thousand whose logit is 0 but for rounding, and what follows of it."""

_METADATA = "comdefend"


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        path: The file.
        takes, gives: Names of its input and output.
        error: Power of the difference between file and network on real images, as a share of the
            output's power.
        metadata: What the file says of itself.
    """

    path: Path
    takes: str
    gives: str
    error: float
    metadata: dict[str, Any]


@dataclass(frozen=True)
class ExportedFile:
    """An exported file, opened.

    Attributes:
        run: Its input, an array, to its output.
        metadata: What the file says of itself; empty where comdefend did not write it.
    """

    run: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    metadata: dict[str, Any]


def export(
    output: Path,
    images: Tensor,
    weights: str = "rgb-12bpp",
    part: str = "purifier",
    classifier: str | None = None,
    input: str = "float",
) -> Export:
    """Write a network as a file that other programs run; any batch, height and width.

    Where the purifier sees blocks of d pixels, d above 1, images need more than d pixels a side; a
    classifier may need more.

    The file is compared with the network before it takes its place; one that differs is not
    written.

    Args:
        output: Ends in one of `SUFFIXES`.
        images: (N, C, H, W) uint8, N at least 6: real images to compare on, grey or RGB.
        weights: A purifier, as `comdefend.load` names it.
        part: ``purifier``, ``encoder`` (images to code) or ``decoder`` (code to images, whose size
            is a multiple of ``config.multiple``).
        classifier: As `open_classifier` names it, behind the purifier: images to logits.
        input: ``float``: images in [0, 1] and a code of 0 and 1, in float32. ``uint8``: images in
            0 to 255 and a code of 0 and 1, taken and given in bytes; logits remain float32.

    Raises:
        InputError: An unknown suffix, weights, part, classifier or input, a part of a defended
            classifier, or a classifier that torch cannot export.
        ExtraMissingError: The ``runtime`` extra is not installed.
        EngineError: The file does not compute what the network does.
        OutputError: It cannot be written.
        DataMissingError, WeightsError: As for `comdefend.load` and `open_classifier`.
    """
    _check_choices(output, part, classifier, input)
    purifier = zoo.load(weights).requires_grad_(False)
    metadata = {
        "comdefend": comdefend.__version__,
        "commit": commit(),
        "weights": Path(weights).name,
        "sha256": zoo.checksum(weights),
        "config": to_plain(purifier.config),
        "part": part,
        "input": input,
    }
    takes, gives = _PARTS[part]
    network: nn.Module = _Part(purifier, part)
    dims = convolution_dims()
    if classifier is not None:
        behind = open_classifier(classifier).requires_grad_(False)
        metadata |= {"classifier": classifier, "classifier_fingerprint": fingerprint(behind)}
        takes, gives = _DEFENDED
        network = DefendedClassifier(purifier, behind)
    if classifier is not None or purifier.config.multiple > 1:
        # What pooling and padding ask of the size is for torch to find out.
        dims |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    network = network if input == "float" else _OnBytes(network, takes, gives)
    examples = _examples(purifier, images, takes, input)
    make_folder(output.parent)
    try:
        with torch.no_grad():
            wanted = [network.eval()(example) for example in examples]
        program = trace(network, examples[0], dims)
        files, run = _SAVE[output.suffix](program, takes, gives, json.dumps(metadata))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{classifier or weights}: cannot be exported ({reason})") from error
    difference = max(
        _difference(run(example.numpy()), reference.numpy())
        for example, reference in zip(examples, wanted, strict=True)
    )
    if not difference <= MAX_ERROR:
        raise EngineError(
            f"{output}: not written, since it differs from the network by {difference:.2g} of the "
            f"output's power, more than {MAX_ERROR:g}"
        )
    for suffix, data in files.items():
        atomic_write(output.with_suffix(suffix), data)
    return Export(output, takes, gives, difference, metadata)


def open_exported(path: Path) -> ExportedFile:
    """Open an exported ONNX or OpenVINO file, on the processor.

    A ``.pt2`` file is not opened: torch's loader unpickles parts of it.

    Raises:
        InputError: Neither of the two.
        DataMissingError: It does not exist, or the ``.bin`` beside an ``.xml`` does not.
        WeightsError: It is corrupt.
        ExtraMissingError: The ``runtime`` extra is not installed.
    """
    if path.suffix not in _OPEN:
        raise InputError(f"{path}: can be opened if it ends in {' or '.join(_OPEN)}")
    for file in (path, path.with_suffix(".bin"))[: 1 + (path.suffix == ".xml")]:
        if not file.is_file():
            raise DataMissingError(f"{file}: no such exported file")
    require_extra("runtime")
    # A damaged file makes either library raise whatever its reading runs into.
    try:
        run, text = _OPEN[path.suffix](path)
        return ExportedFile(run, json.loads(text))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: corrupt, not a model ({reason})") from error


class _Part(nn.Module):
    """A purifier, or one half of it."""

    def __init__(self, purifier: ComDefend, part: str) -> None:
        super().__init__()
        self.purifier = purifier
        self.part = part

    def forward(self, values: Tensor) -> Tensor:
        if self.part == "encoder":
            return self.purifier.encode(values)
        if self.part == "decoder":
            return self.purifier.decode(values)
        return self.purifier(values)


class _OnBytes(nn.Module):
    """A network that takes bytes, and gives bytes where it gives no logits."""

    def __init__(self, network: nn.Module, takes: str, gives: str) -> None:
        super().__init__()
        self.network = network
        self.takes, self.gives = takes, gives

    def forward(self, values: Tensor) -> Tensor:
        found = self.network(values.float() / _BYTES[self.takes])
        if self.gives not in _BYTES:
            return found
        return (found * _BYTES[self.gives]).round().to(torch.uint8)


def _check_choices(output: Path, part: str, classifier: str | None, input: str) -> None:
    if output.suffix not in SUFFIXES:
        raise InputError(f"{output}: must end in {', '.join(SUFFIXES)}")
    if part not in _PARTS:
        raise InputError(f"part must be one of {', '.join(_PARTS)}, not '{part}'")
    if classifier is not None and part != "purifier":
        raise InputError(f"a classifier needs the whole purifier; leave part '{part}' out")
    if input not in INPUTS:
        raise InputError(f"input must be {' or '.join(INPUTS)}, not '{input}'")
    if output.suffix != ".pt2":
        require_extra("runtime")


@torch.no_grad()
def _examples(purifier: ComDefend, images: Tensor, takes: str, input: str) -> list[Tensor]:
    """Two inputs of different batch and size, made of real images side by side."""
    six = images[:6].float() / 255
    if six.shape[1] != purifier.config.channels:
        # Tinted, so that channels that are mixed up show.
        tint = torch.linspace(1, 0.6, purifier.config.channels).view(1, -1, 1, 1)
        six = six.mean(1, keepdim=True) * tint
    rows = [torch.cat(list(six[start : start + 3]), dim=2) for start in (0, 3)]
    pairs = torch.stack(rows), torch.cat(rows, dim=1).unsqueeze(0)
    values = [purifier.encode(p) if takes == "code" else p for p in pairs]
    if input == "float":
        return values
    return [(v * _BYTES[takes]).round().to(torch.uint8) for v in values]


def _difference(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return math.inf
    reference = wanted.astype(np.float64)
    return float(np.square(found - reference).mean() / np.square(reference).mean())


_Saved = tuple[dict[str, bytes], Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]
"""Files by suffix, the one that completes the others last; and what they compute."""


def _save_onnx(program: ExportedProgram, takes: str, gives: str, metadata: str) -> _Saved:
    model = to_onnx(program, [takes], [gives])
    entry = model.metadata_props.add()
    entry.key, entry.value = _METADATA, metadata
    return _read_back({".onnx": model.SerializeToString()})


def _save_openvino(program: ExportedProgram, takes: str, gives: str, metadata: str) -> _Saved:
    openvino = require_openvino()
    model = to_openvino(program)
    model.inputs[0].get_tensor().set_names({takes})
    model.outputs[0].get_tensor().set_names({gives})
    model.set_rt_info(metadata, _METADATA)
    with tempfile.TemporaryDirectory(prefix="comdefend-") as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        files = {suffix: path.with_suffix(suffix).read_bytes() for suffix in (".bin", ".xml")}
    return _read_back(files)


def _save_program(program: ExportedProgram, takes: str, gives: str, metadata: str) -> _Saved:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{_METADATA}.json": metadata})
    # Not read back: torch's loader unpickles.
    network = program.module()
    return {".pt2": buffer.getvalue()}, lambda values: network(torch.from_numpy(values)).numpy()


def _read_back(files: dict[str, bytes]) -> _Saved:
    """Open files from a folder of their own, so that nobody meets them before they are checked."""
    with tempfile.TemporaryDirectory(prefix="comdefend-") as folder:
        for suffix, data in files.items():
            (Path(folder) / f"model{suffix}").write_bytes(data)
        return files, open_exported(Path(folder) / f"model{list(files)[-1]}").run


_Opened = tuple[Callable[[npt.NDArray[Any]], npt.NDArray[Any]], str]


def _open_onnx(path: Path) -> _Opened:
    runtime = require("onnxruntime", "runtime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    text = session.get_modelmeta().custom_metadata_map.get(_METADATA, "{}")
    return lambda values: session.run(None, {name: values})[0], text


def _open_openvino(path: Path) -> _Opened:
    core = openvino_core()
    # The bytes and not the path, which would be mapped into memory and change with the file.
    model = core.read_model(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    # What OpenVINO would choose by itself may be half the precision.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core.compile_model(model, "CPU", settings)
    text = model.get_rt_info([_METADATA]).value if model.has_rt_info([_METADATA]) else "{}"
    return lambda values: compiled(values)[0], text


_SAVE: dict[str, Callable[[ExportedProgram, str, str, str], _Saved]] = {
    ".onnx": _save_onnx,
    ".xml": _save_openvino,
    ".pt2": _save_program,
}
_OPEN = {".onnx": _open_onnx, ".xml": _open_openvino}
