"""What every engine offers, whatever computes behind it."""

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from comdefend.nn.config import PurifierConfig
from comdefend.nn.images import check_images, pad_to_multiple
from comdefend.nn.purifier import ComDefend

Images = Tensor | npt.NDArray[np.float32]
Network = Callable[[Tensor], Tensor]
"""A float32 tensor to a float32 tensor: a purifier or a part of it, as an engine computes it."""

PARTS = ("purifier", "encoder", "decoder")
"""Images to purified images, images to logits, a code to images; of images and codes whose sizes
``config.multiple`` and ``config.reduction`` divide."""


class Engine:
    """A purifier in use: images to images, or to the code and back, as fast as may be.

    What it takes, checks and returns is what `ComDefend` does in evaluation mode, in float32
    whatever it computes in; only gradients there are none, so it is not for attacking. One thread
    at a time may call it.

    Args:
        name: What computes: one of `ENGINES`.
        precision: What it computes in: ``float32``, ``bfloat16`` or ``int8``.
        config: The purifier's architecture.
        device: Where the networks compute.
        open_part: Takes up one of `PARTS`. The purifier is opened at once, so that what cannot be
            computed fails early, and the others when they are first asked for.
    """

    def __init__(
        self,
        name: str,
        precision: str,
        config: PurifierConfig,
        device: torch.device,
        open_part: Callable[[str], Network],
    ) -> None:
        self.name = name
        self.precision = precision
        self.config = config
        self.device = device
        self._whole = open_part("purifier")
        # A purifier with other networks in it: checks, padding and the threshold remain its own.
        with torch.device("meta"):
            self._parts = ComDefend(config).eval()
        for part in PARTS[1:]:
            self._parts.set_submodule(part, _Computed(partial(open_part, part), device))

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
    def encode(self, images: Images) -> Tensor:
        """Compress images to their code.

        Args:
            images: (N, C, H, W) float32 in [0, 1].

        Returns:
            (N, K, h, w) float32, 0 or 1, on the engine's device; h and w as
            `PurifierConfig.code_side` has them.

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
            size: (H, W) of the images; needed only where ``config.multiple`` does not divide it.

        Returns:
            (N, C, H, W) float32 in [0, 1], on the engine's device.

        Raises:
            InputError: The code's shape does not fit the weights or the size, or its values do
                not lie in [0, 1].
            InputTypeError: Not float32.
        """
        return self._parts.decode(self._tensor(code), size)

    def _tensor(self, values: Images) -> Tensor:
        # Copied, since an array may be read-only, and no tensor can be.
        values = torch.tensor(values) if isinstance(values, np.ndarray) else values
        return values.to(self.device) if isinstance(values, Tensor) else values


class _Computed(nn.Module):
    """A network that something else than torch's modules computes, opened when it is needed."""

    def __init__(self, open_network: Callable[[], Network], device: torch.device) -> None:
        super().__init__()
        self.open_network = open_network
        # A purifier asks its parameters for type and device.
        self.anchor = nn.Parameter(torch.empty(0, device=device), requires_grad=False)

    def forward(self, values: Tensor) -> Tensor:
        return self.network(values)

    @cached_property
    def network(self) -> Network:
        return self.open_network()
