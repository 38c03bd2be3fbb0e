"""Batches and augmentation that depend on seed and step alone.

The batch of a step is a function of (seed, step), not of what a generator has drawn before. So a
resumed run sees the same batches as an uninterrupted one, and processes that train together divide
one batch among them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from comdefend.data.image_set import ImageSet
from comdefend.training.kinds import Recipe


def step_generator(seed: int, purpose: str, step: int) -> torch.Generator:
    """Return a generator of random numbers for one purpose in one step of one run.

    Seeds are hashed, since torch's generator on the CPU ignores all but their lower 32 bits.
    """
    digest = hashlib.sha256(f"{seed} {purpose} {step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4]))


def process_share() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that train together."""
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def epoch_loader(
    images: ImageSet, recipe: Recipe, epoch: Callable[[], int]
) -> DataLoader[tuple[Tensor, ...]]:
    """Return a loader of all images with their labels, in a new order every epoch.

    Args:
        images: The training images.
        recipe: Batch and seed.
        epoch: Returns the number of the epoch, at its start.
    """
    batch = epoch_batch(len(images), recipe)
    sampler = EpochSampler(len(images), batch, recipe.seed, epoch)
    return DataLoader(TensorDataset(images.images, images.labels), batch_sampler=sampler)


def epoch_batch(count: int, recipe: Recipe) -> int:
    """Return the images per step in passes over ``count`` images, all of them at most."""
    return min(count, recipe.batch)


class EpochSampler(Sampler[list[int]]):
    """Draws every image once per epoch, in an order that depends on seed and epoch alone.

    Images that do not fill a last batch are left out of the epoch.

    Args:
        count: Number of images.
        batch: Images per batch.
        seed: Seed of the run.
        epoch: Returns the number of the epoch, at its start.
    """

    def __init__(self, count: int, batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self.count, self.batch, self.seed, self.epoch = count, batch, seed, epoch

    def __len__(self) -> int:
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(
            self.count, generator=step_generator(self.seed, "order", self.epoch())
        )
        for index in range(len(self)):
            yield order[index * self.batch : (index + 1) * self.batch].tolist()


def noisy_images(
    images: Tensor,
    stds: Sequence[float],
    generator: torch.Generator,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Add normal noise to images, and clamp them to [0, 1] again.

    Args:
        images: (B, C, h, w) float in [0, 1], this process's share of a batch.
        stds: Standard deviations, of which each image draws one.
        generator: Source of random numbers, the same in all processes.
        share: Rank of this process and number of processes.
    """
    rank, world = share
    count = len(images) * world
    std = torch.tensor(stds)[torch.randint(len(stds), (count,), generator=generator)]
    noise = std.view(-1, 1, 1, 1) * torch.randn(count, *images.shape[1:], generator=generator)
    return (images + noise.chunk(world)[rank].to(images)).clamp(0, 1)


def augment(
    images: Tensor, generator: torch.Generator, translate: int, flip: bool, cutout: int = 0
) -> Tensor:
    """Shift, mirror and blank images, each at random.

    Args:
        images: (B, C, H, W) float.
        generator: Source of random numbers.
        translate: Largest shift, in pixels.
        flip: Mirror each with probability 1/2.
        cutout: Side of the square that is blanked; 0 for none.
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (translate,) * 4, mode="reflect")
    shifts = torch.randint(0, 2 * translate + 1, (count, 2), generator=generator).tolist()
    cut = torch.rand(count, 2, generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    views = [
        view[:, top : top + height, left : left + width]
        for view, (top, left) in zip(padded, shifts, strict=True)
    ]
    result = torch.stack(views)
    if flip:
        result = torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), result.flip(-1), result)
    if cutout:
        rows, columns = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
        top = (cut[:, 0] * (height - cutout + 1)).long().view(-1, 1, 1)
        left = (cut[:, 1] * (width - cutout + 1)).long().view(-1, 1, 1)
        inside = (rows >= top) & (rows < top + cutout)
        inside = inside & (columns >= left) & (columns < left + cutout)
        result = result.masked_fill(inside.unsqueeze(1).to(images.device), 0.5)
    return result
