"""Labelled images of one size, held in memory."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from comdefend.errors import InputError


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        classes: Names of the classes, in the order of the labels; may be empty.
        notes: What the user should know about where they come from, a line each.

    Raises:
        InputError: Images or labels have another shape or type.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise InputError(
                f"images must be (N, C, H, W) uint8, not {tuple(self.images.shape)} "
                f"{self.images.dtype}"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise InputError(f"{len(self.images)} images but {self.labels.numel()} labels")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def class_count(self) -> int:
        """Number of classes, by their names, or else one more than the largest label."""
        return len(self.classes) or int(self.labels.max()) + 1

    def subset(self, indices: Tensor) -> "ImageSet":
        """Return the images at ``indices``, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def sample(self, count: int, seed: int = 0) -> "ImageSet":
        """Return ``count`` images drawn without replacement, the same for the same seed.

        Raises:
            InputError: ``count`` is below 1, or there are fewer images.
        """
        if not 1 <= count <= len(self):
            raise InputError(f"cannot draw {count} of {len(self)} images")
        generator = torch.Generator().manual_seed(seed)
        return self.subset(torch.randperm(len(self), generator=generator)[:count])

    def fingerprint(self) -> str:
        """Return a SHA-256 over shape, pixels and labels: equal data, equal fingerprint."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def hold_out(self, count: int, seed: int) -> tuple["ImageSet", "ImageSet"]:
        """Return ``count`` images, drawn at random, and all others."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.subset(order[:count]), self.subset(order[count:])
