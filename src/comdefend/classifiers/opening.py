"""Classifiers by name: those that ship, those of other libraries, and the user's own.

All of them take images in [0, 1], normalise them, and return logits. Nothing is downloaded, and
nothing is unpickled.
"""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from comdefend import zoo
from comdefend.classifiers.checkpoints import load_checkpoint
from comdefend.classifiers.libraries import LIBRARIES, library_preprocessing, make_architecture
from comdefend.classifiers.normalized import Normalized
from comdefend.classifiers.preprocessing import Preprocessing
from comdefend.classifiers.ready import READY
from comdefend.classifiers.spec import ClassifierSpec, as_spec
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
    classifier: ClassifierSpec | str, tell: Callable[[str], None] = lambda line: None
) -> nn.Module:
    """Open a classifier in evaluation mode: images in [0, 1] -> logits (N, classes).

    Its name is one of

    - a name of `comdefend.classifier_weights`, or a ``.safetensors`` file made by our training;
    - a ready-made one, such as ``efficientnet-lite0``;
    - ``torchvision:NAME`` or ``timm:NAME``: an architecture; the checkpoint holds its weights and
      decides the number of classes. Where no mean and std are given, the library's own are taken;
    - ``package.module:function``: an ``nn.Module``, or a function that returns one when called
      without arguments. The current directory is importable, as for ``python -m``. This runs the
      module's code.

    Args:
        classifier: The name, alone or with what else opening it takes: for the last two a
            checkpoint, and mean and std where the network takes normalised images. A checkpoint is
            ``.safetensors``, or a file of ``torch.save`` that holds a state dict, by itself or as
            ``state_dict``, ``model_state_dict``, ``model`` or ``net``.
        tell: Told, in a line, what is taken that was not given.

    Raises:
        InputError: Unknown, a checkpoint that does not fit or is not wanted, or a bad mean or std.
        InputTypeError: The user's function returns no ``nn.Module``.
        DataMissingError: A file does not exist.
        ExtraMissingError: The library is not installed.
        WeightsError: A file is corrupt, or holds no weights.
    """
    spec = as_spec(classifier)
    if (complete := _complete(spec.name)) is not None:
        if spec.checkpoint is not None:
            raise InputError(f"{spec.name} has its weights; leave the checkpoint out")
        if spec.mean is not None:
            raise InputError(f"{spec.name} normalises images itself; leave mean and std out")
        return complete.eval()
    checkpoint = None if spec.checkpoint is None else Path(spec.checkpoint)
    network = _bare(spec.name, checkpoint)
    if checkpoint is not None:
        load_checkpoint(network, checkpoint, spec.name)
    return _normalized(network, spec, tell).eval()


def known_preprocessing(name: str) -> Preprocessing | None:
    """Return how images are prepared for a classifier, where its name tells; otherwise None.

    Raises:
        InputError: The library in the name has no such classifier.
        ExtraMissingError: The library is not installed.
    """
    if name in READY:
        return READY[name].preprocessing
    library, colon, architecture = name.partition(":")
    if colon and library in LIBRARIES:
        return library_preprocessing(library, architecture)
    return None


def _complete(name: str) -> nn.Module | None:
    """Return a classifier that has weights and normalisation, or None."""
    if name in READY:
        return READY[name].open()
    if name in zoo.classifier_weights() or name.endswith(_SUFFIX):
        return zoo.load_classifier(name)
    return None


def _bare(name: str, checkpoint: Path | None) -> nn.Module:
    """Return a network that may need weights and normalisation."""
    library, colon, architecture = name.partition(":")
    if colon and library in LIBRARIES:
        return make_architecture(library, architecture, checkpoint)
    if is_user_spec(name):
        return load_module(name)
    raise InputError(f"unknown classifier '{name}'; known: {', '.join(CLASSIFIERS)}")


def _normalized(network: nn.Module, spec: ClassifierSpec, tell: Callable[[str], None]) -> nn.Module:
    """Return a network that normalises images as is asked for, or else as is known."""
    if spec.mean is not None and spec.std is not None:
        return Normalized(network, spec.mean, spec.std)
    known = known_preprocessing(spec.name)
    if known is None or known.mean is None or known.std is None:
        return network
    mean, std = (",".join(f"{value:g}" for value in values) for values in (known.mean, known.std))
    tell(
        f"{spec.name}: images are normalised by mean {mean} and std {std}, as {known.source} says; "
        "--mean and --std say otherwise (mean= and std= in Python)"
    )
    return Normalized(network, known.mean, known.std)
