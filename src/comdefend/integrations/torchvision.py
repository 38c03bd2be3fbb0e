"""A purifier as a step of torchvision's pipelines (``torchvision.transforms.v2``)."""

from typing import Any

import torch
from torch import Tensor, nn

from comdefend.common.defaults import RECOMMENDED
from comdefend.common.extras import require
from comdefend.errors import InputError
from comdefend.integrations.arrays import opened, purify_pixels

v2: Any = require("torchvision.transforms.v2", "torchvision")
tv_tensors: Any = require("torchvision.tv_tensors", "torchvision")


class Purify(v2.Transform):
    """Purifies the images of a sample, and leaves all else in it as it is.

    It takes what every transform of ``v2`` takes: PIL images, tensors, ``tv_tensors`` (images and
    videos), alone or within tuples, lists and dictionaries. What comes out has the type, size and
    dtype of what went in. Tensors are (C, H, W) or (..., C, H, W), uint8 or float in [0, 1], so it
    stands before ``v2.Normalize``. In the workers of a ``DataLoader`` it runs on one thread each;
    large purifiers are faster on whole batches.

    Args:
        purifier: A name as `load_defense` takes it, or an ``nn.Module``, images to images.

    Raises:
        InputError: Unknown name, or a purifier in training mode; when called, images with channels
            or values that the purifier does not take.
        InputTypeError: The purifier is neither; when called, images of another dtype.
        ExtraMissingError: torchvision is not installed.
    """

    def __init__(self, purifier: str | nn.Module = RECOMMENDED) -> None:
        super().__init__()
        self.purifier = opened(purifier)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Purify one image or video; boxes and masks are left as they are."""
        if not isinstance(inpt, Tensor):
            if inpt.mode not in ("RGB", "L"):
                raise InputError(f"PIL images must be RGB or L, not {inpt.mode}; convert them")
            pixels = v2.functional.pil_to_tensor(inpt)
            return v2.functional.to_pil_image(self._purified(pixels), inpt.mode)
        if not isinstance(inpt, tv_tensors.TVTensor):
            return self._purified(inpt)
        if not isinstance(inpt, tv_tensors.Image | tv_tensors.Video):
            return inpt
        return tv_tensors.wrap(self._purified(inpt.as_subclass(Tensor)), like=inpt)

    @torch.no_grad()
    def _purified(self, images: Tensor) -> Tensor:
        """Return (..., C, H, W) purified."""
        if images.ndim < 3:
            raise InputError(f"images: must have shape (..., C, H, W), not {tuple(images.shape)}")
        batch = images.reshape(-1, *images.shape[-3:])
        if images.dtype == torch.uint8:
            return purify_pixels(batch, self.purifier).reshape(images.shape)
        return self.purifier(batch).reshape(images.shape)
