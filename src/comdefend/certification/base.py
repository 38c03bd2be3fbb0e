"""The base classifier: what is smoothed, and whatever computes it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from comdefend.defenses import DefendedClassifier, is_random
from comdefend.engines import open_engine, open_network
from comdefend.errors import InputError
from comdefend.nn.batches import apply, device_of, images_at_once
from comdefend.nn.purifier import ComDefend

_TORCH = ("auto", "torch"), ("auto", "float32")
# Of the largest logit: float32 adds up in another order.
_TOLERANCE = 1e-3


class Clamped(nn.Module):
    """A pipeline that takes images of any values, and clamps them to [0, 1] first.

    The certificate holds for whatever follows the noise, so the clamping may be part of it.

    Args:
        purifier: Images in [0, 1] to the same; None for none.
        classifier: Images in [0, 1] to logits.
    """

    def __init__(self, purifier: nn.Module | None, classifier: nn.Module) -> None:
        super().__init__()
        self.pipeline = classifier if purifier is None else DefendedClassifier(purifier, classifier)
        self.training = self.pipeline.training

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: (N, C, H, W) of any values -> (N, classes)."""
        return self.pipeline(images.clamp(0, 1))


class BaseClassifier:
    """A purifier, computed by an engine, in front of a classifier: images to answers.

    What computes is part of it: in bfloat16 and in 8-bit integers it is another base classifier
    than in float32, with certificates of its own.

    Args:
        purifier: In evaluation mode; None for none.
        classifier: Images in [0, 1] to logits, in evaluation mode; computed in float32.
        engine, precision: What computes the purifier, as for `open_engine`. Only a `ComDefend` has
            a choice; anything else is computed by PyTorch in float32.
        images: (N, C, H, W) float32 in [0, 1], a few of those to come. With them the engine
            computes the classifier too, if it can: `classifier_engine` says what does.

    Raises:
        InputError: Purifier or classifier draw at random, or the engine cannot compute them.
        ExtraMissingError: The engine is not installed.
    """

    def __init__(
        self,
        purifier: nn.Module | None,
        classifier: nn.Module,
        engine: str = "auto",
        precision: str = "float32",
        images: Tensor | None = None,
    ) -> None:
        for what, module in (("defence", purifier), ("classifier", classifier)):
            if module is not None and is_random(module):
                raise InputError(f"the {what} draws at random; {_ALWAYS_THE_SAME}")
        self.pipeline = Clamped(purifier, classifier)
        self.classifier = classifier
        self._purify: Callable[[Tensor], Tensor] | None = purifier
        self._classify: Callable[[Tensor], Tensor] = classifier
        self.engine, self.precision, self.classifier_engine = "torch", "float32", "torch"
        if isinstance(purifier, ComDefend):
            opened = open_engine(purifier, engine, precision)
            self.engine, self.precision = opened.name, opened.precision
            self._purify = opened
            if images is not None and self.engine != "torch":
                self._open_classifier(images)
        elif engine not in _TORCH[0] or precision not in _TORCH[1]:
            raise InputError(
                f"engine '{engine}' in {precision}: only a ComDefend has a choice; this defence is "
                "computed by torch in float32"
            )

    def images_at_once(self, images: Tensor) -> int:
        """Return how many of these (N, C, H, W) images to give to it at once."""
        return images_at_once(self.pipeline, images)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the answers: (N, C, H, W) float32 of any values -> (N,) int64, on the CPU."""
        images = images.to(device_of(self.classifier)).clamp(0, 1)
        purified = images if self._purify is None else self._purify(images)
        return self._classify(purified).argmax(1).cpu()

    @torch.inference_mode()
    def _open_classifier(self, images: Tensor) -> None:
        """Let the engine compute the classifier, if its answers there are the same."""
        size, threads = self.images_at_once(images), torch.get_num_threads()
        example = images[torch.arange(size) % len(images)]
        try:
            network = open_network(self.classifier, example, self.engine, "float32", threads)
            computed = _Filled(network, size)
            wanted, answers = self.classifier(images), computed(images)
        except Exception:  # tracing somebody's classifier may raise anything
            return
        if (answers - wanted).abs().max() <= _TOLERANCE * wanted.abs().max():
            self._classify, self.classifier_engine = computed, self.engine


class _Filled:
    """A network that takes batches of one size, for batches of any size: zeros fill them up."""

    def __init__(self, network: Callable[[Tensor], Tensor], size: int) -> None:
        self.network, self.size = network, size

    def __call__(self, images: Tensor) -> Tensor:
        outputs = []
        for part in images.split(self.size):
            batch = images.new_zeros(self.size, *images.shape[1:])
            batch[: len(part)] = part
            outputs.append(self.network(batch)[: len(part)])
        return torch.cat(outputs)


def check_repeats(base: BaseClassifier, images: Tensor) -> None:
    """Check that a base classifier computes the same twice, whatever is drawn meanwhile.

    Args:
        base: The classifier.
        images: (N, C, H, W) float in [0, 1], a few.

    Raises:
        InputError: It does not, although it does not say that it draws at random.
    """
    first, second = (apply(base.pipeline, images, seed) for seed in (0, 1))
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3):
        raise InputError(f"defence or classifier draw at random; {_ALWAYS_THE_SAME}")


_ALWAYS_THE_SAME = "a certificate needs what always answers the same to the same image"
