"""What every engine offers, whatever computes behind it."""

import threading
from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from comdefend.data.image import Bytes
from comdefend.engines.choice import Choice
from comdefend.nn.images import check_images, pad_to_multiple, to_bytes, to_floats
from comdefend.nn.purifier import ComDefend

Images = Tensor | npt.NDArray[np.float32]
Network = Callable[[Tensor], Tensor]
"""A float32 tensor to a float32 tensor: a purifier or a part of it, as an engine computes it."""

PARTS = ("purifier", "encoder", "decoder")
"""Images to purified images, images to logits, a code to images. ``config.multiple`` must divide
the sides of the images, and ``config.reduction`` those of the code."""


class Computation(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A network, and how to compute it.

    Attributes:
        network: In evaluation mode; belongs to the engine.
        example: An input, on the device where it is computed.
        multiple: The input is (N, C, H, W), of any N and of any H and W that this divides. None: it
            has the shape of the example.
        precision: ``float32`` or ``bfloat16``.
        threads: How many threads compute, on a processor.
    """

    network: nn.Module
    example: Tensor
    multiple: int | None
    precision: str
    threads: int


class Engine:
    """A purifier in use: images to images, or to the code and back, as fast as possible.

    It takes, checks and returns the same as `ComDefend` in evaluation mode, in float32 whatever it
    computes in. It has no gradients, so it cannot be attacked. Several threads may call it: each
    call has activations of its own, and all share the weights.

    Args:
        choice: What computes, and in which precision.
        purifier: In evaluation mode.
        open_part: Opens one of `PARTS`. The whole purifier is opened at once, so that anything that
            cannot be computed fails early; the others are opened when they are first needed.
    """

    def __init__(
        self,
        choice: Choice,
        purifier: ComDefend,
        open_part: Callable[[str], Network],
    ) -> None:
        self.name = choice.name
        self.precision = choice.precision
        self.why = choice.why
        self.config = purifier.config
        self.device = purifier.device
        self._whole = open_part("purifier")
        encoder, decoder = (_Computed(partial(open_part, part)) for part in PARTS[1:])
        self._parts = ComDefend(purifier.config, encoder, decoder, purifier.binarizer).eval()

    @torch.inference_mode()
    def __call__(self, images: Images) -> Tensor:
        """Purify images: (N, C, H, W) float32 in [0, 1] -> the same, on the engine's device.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not float32.
        """
        tensor = self._tensor(images)
        check_images(tensor, self.config.channels, torch.float32)
        height, width = tensor.shape[-2:]
        return self._whole(pad_to_multiple(tensor, self.config.multiple))[..., :height, :width]

    @torch.inference_mode()
    def purify_bytes(self, images: Bytes) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        """Purify images: (N, C, H, W) uint8 -> the same, and (N,), which results are finite."""
        purified = self(to_floats(torch.from_numpy(images), self.device))
        finite = purified.isfinite().flatten(1).all(1)
        return to_bytes(purified).cpu().numpy(), finite.cpu().numpy()

    @torch.inference_mode()
    def encode(self, images: Images) -> Tensor:
        """Compress images to their code.

        Args:
            images: (N, C, H, W) float32 in [0, 1].

        Returns:
            (N, K, h, w) float32, 0 or 1, on the engine's device; h and w are those of
            `PurifierConfig.code_side`.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not float32.
        """
        return self._parts.encode(self._tensor(images))

    @torch.inference_mode()
    def decode(self, code: Images, size: tuple[int, int] | None = None) -> Tensor:
        """Rebuild images from their code.

        Args:
            code: (N, K, h, w) float32 in [0, 1].
            size: (H, W) of the images; needed only if ``config.multiple`` does not divide it.

        Returns:
            (N, C, H, W) float32 in [0, 1], on the engine's device.

        Raises:
            InputError: The shape of the code does not fit the weights or the size, or its values do
                not lie in [0, 1].
            InputTypeError: Not float32.
        """
        return self._parts.decode(self._tensor(code), size)

    def _tensor(self, values: Images) -> Tensor:
        # Arrays are copied: they may be read-only, which tensors cannot be.
        values = torch.tensor(values) if isinstance(values, np.ndarray) else values
        return values.to(self.device) if isinstance(values, Tensor) else values


class _Computed(nn.Module):
    """An encoder or decoder that an engine computes, opened when it is first called."""

    def __init__(self, open_network: Callable[[], Network]) -> None:
        super().__init__()
        self._open_network = open_network
        self._network: Network | None = None
        self._opening = threading.Lock()

    def forward(self, values: Tensor) -> Tensor:
        with self._opening:
            if self._network is None:
                self._network = self._open_network()
        return self._network(values)
