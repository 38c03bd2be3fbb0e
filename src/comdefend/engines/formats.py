"""File formats of exported networks: ONNX, OpenVINO IR and torch.export programs."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt
import torch
from torch.export import ExportedProgram

from comdefend.common.extras import require, require_extra
from comdefend.engines.graphs import to_onnx, to_openvino
from comdefend.engines.open_vino import openvino_core, require_openvino
from comdefend.errors import DataMissingError, InputError, WeightsError

_METADATA = "comdefend"

Run = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""An array, the input of an exported network, to its output."""


class ExportedFile(msgspec.Struct, frozen=True):
    """An exported file, opened.

    Attributes:
        run: Computes the network.
        metadata: What the file says about itself; empty unless comdefend wrote it.
    """

    run: Run
    metadata: dict[str, Any]


class Saved(msgspec.Struct, frozen=True):
    """A network as the bytes of files.

    Attributes:
        files: Suffix -> content; a file that needs another comes after it.
        run: Computes the network from these bytes.
    """

    files: dict[str, bytes]
    run: Run


def open_exported(path: Path) -> ExportedFile:
    """Open an exported ONNX or OpenVINO file, on the processor.

    A ``.pt2`` file is not opened, since torch's loader unpickles parts of it.

    Raises:
        InputError: The path has another suffix.
        DataMissingError: It does not exist, or the ``.bin`` beside an ``.xml`` does not.
        WeightsError: It is corrupt.
        ExtraMissingError: The ``runtime`` extra is not installed.
    """
    if path.suffix not in _OPEN:
        raise InputError(f"{path}: must end in {' or '.join(_OPEN)} to be opened")
    for file in (path, path.with_suffix(".bin"))[: 1 + (path.suffix == ".xml")]:
        if not file.is_file():
            raise DataMissingError(f"{file}: no such exported file")
    require_extra("runtime")
    # On a damaged file, either library raises whatever it runs into.
    try:
        run, text = _OPEN[path.suffix](path)
        return ExportedFile(run, json.loads(text))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: corrupt, not a model ({reason})") from error


def _save_onnx(program: ExportedProgram, takes: str, gives: str, metadata: str) -> Saved:
    model = to_onnx(program, [takes], [gives])
    entry = model.metadata_props.add()
    entry.key, entry.value = _METADATA, metadata
    return _read_back({".onnx": model.SerializeToString()})


def _save_openvino(program: ExportedProgram, takes: str, gives: str, metadata: str) -> Saved:
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


def _save_program(program: ExportedProgram, takes: str, gives: str, metadata: str) -> Saved:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{_METADATA}.json": metadata})
    # Not read back: torch's loader unpickles.
    network = program.module()
    return Saved(
        {".pt2": buffer.getvalue()}, lambda values: network(torch.from_numpy(values)).numpy()
    )


def _read_back(files: dict[str, bytes]) -> Saved:
    """Open files in a temporary folder, so that nobody sees them before they are checked."""
    with tempfile.TemporaryDirectory(prefix="comdefend-") as folder:
        for suffix, data in files.items():
            (Path(folder) / f"model{suffix}").write_bytes(data)
        return Saved(files, open_exported(Path(folder) / f"model{list(files)[-1]}").run)


def _open_onnx(path: Path) -> tuple[Run, str]:
    runtime = require("onnxruntime", "runtime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    text = session.get_modelmeta().custom_metadata_map.get(_METADATA, "{}")
    return lambda values: session.run(None, {name: values})[0], text


def _open_openvino(path: Path) -> tuple[Run, str]:
    core = openvino_core()
    # From bytes: a file opened by its path is mapped into memory and would change with it.
    model = core.read_model(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    # By default OpenVINO may choose half precision.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core.compile_model(model, "CPU", settings)
    text = model.get_rt_info([_METADATA]).value if model.has_rt_info([_METADATA]) else "{}"
    return lambda values: compiled(values)[0], text


SAVE: dict[str, Callable[[ExportedProgram, str, str, str], Saved]] = {
    ".onnx": _save_onnx,
    ".xml": _save_openvino,
    ".pt2": _save_program,
}
"""Suffix -> function of a graph, the names of its input and output, and metadata as JSON."""

_OPEN = {".onnx": _open_onnx, ".xml": _open_openvino}
