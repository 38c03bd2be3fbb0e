"""Classifiers by name: those that ship, those of other libraries, and the user's own.

All of them take images in [0, 1], normalise them, and return logits. Nothing is downloaded, and
nothing is unpickled.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from comdefend import zoo
from comdefend.classifiers.checkpoints import load_checkpoint
from comdefend.classifiers.libraries import LIBRARIES, make_architecture
from comdefend.classifiers.normalized import Normalized
from comdefend.classifiers.ready import READY
from comdefend.common.user_code import is_user_spec, load_module
from comdefend.errors import InputError

_SUFFIX = ".safetensors"

CLASSIFIERS: dict[str, str] = {
    **dict.fromkeys(zoo.classifier_weights(), "a small classifier that ships with comdefend"),
    **{name: ready.about for name, ready in READY.items()},
    f"a {_SUFFIX} file": "a small classifier made by training",
    **{f"{name}:NAME": library.about for name, library in LIBRARIES.items()},
    "package.module:function": "your own: an nn.Module, or a function that returns one",
}
"""The forms of a classifier's name -> what it is, in a phrase."""


def open_classifier(
    spec: str,
    checkpoint: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """Open a classifier in evaluation mode: images in [0, 1] -> logits (N, classes).

    ``spec`` is one of

    - a name of `comdefend.classifier_weights`, or a ``.safetensors`` file made by our training;
    - a name of `READY`, such as ``efficientnet-lite0``;
    - ``torchvision:NAME`` or ``timm:NAME``: an architecture; ``checkpoint`` holds its weights and
      decides the number of classes;
    - ``package.module:function``: an ``nn.Module``, or a function that returns one when called
      without arguments. The current directory is importable, as for ``python -m``. This runs the
      module's code.

    Args:
        spec: As above.
        checkpoint: Weights for the last two: ``.safetensors``, or a file of ``torch.save`` that
            holds a state dict, by itself or as ``state_dict``, ``model_state_dict``, ``model`` or
            ``net``.
        mean, std: For each channel, of the training images of the last two, where the network takes
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
    if (complete := _complete(spec)) is not None:
        if checkpoint is not None:
            raise InputError(f"{spec} has its weights; leave the checkpoint out")
        if mean is not None:
            raise InputError(f"{spec} normalises images itself; leave mean and std out")
        return complete.eval()
    network = _bare(spec, None if checkpoint is None else Path(checkpoint))
    if checkpoint is not None:
        load_checkpoint(network, Path(checkpoint), spec)
    if mean is not None and std is not None:
        network = Normalized(network, mean, std)
    return network.eval()


def _complete(spec: str) -> nn.Module | None:
    """Return a classifier that has weights and normalisation, or None."""
    if spec in READY:
        return READY[spec].open()
    if spec in zoo.classifier_weights() or spec.endswith(_SUFFIX):
        return zoo.load_classifier(spec)
    return None


def _bare(spec: str, checkpoint: Path | None) -> nn.Module:
    """Return a network that may need weights and normalisation."""
    library, colon, name = spec.partition(":")
    if colon and library in LIBRARIES:
        return make_architecture(library, name, checkpoint)
    if is_user_spec(spec):
        return load_module(spec)
    raise InputError(f"unknown classifier '{spec}'; known: {', '.join(CLASSIFIERS)}")
