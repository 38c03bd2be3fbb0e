"""Batches, crops and augmentation that depend on seed and step alone.

The batch of a step is a function of (seed, step), not of what a generator has drawn before. So a
resumed run sees the same batches as an uninterrupted one, and processes that train together divide
one batch among them.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from comdefend.data.image_files import read_named
from comdefend.data.image_set import ImageSet
from comdefend.training.kinds import PurifyingRecipe, Recipe

Crop = tuple[int, int, float, float]
"""Step, index of the image, x and y: from 0 for left or top to 1 for right or bottom."""


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


class StepSampler(Sampler[list[Crop]]):
    """Draws the images and crop positions of each step.

    Args:
        count: Number of images to draw from.
        batch: Crops per step, over all processes together.
        steps: Steps per epoch.
        all_steps: Steps of the whole training, which may end before a whole epoch.
        seed: Seed of the run.
        next_step: Returns the number of the next step, at the start of an epoch. Lightning tells
            batch samplers nothing about epochs, and other samplers too late when a run is resumed.
        share: Returns the rank of this process and the number of processes, which must divide
            ``batch``.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        steps: int,
        all_steps: int,
        seed: int,
        next_step: Callable[[], int],
        share: Callable[[], tuple[int, int]] = process_share,
    ) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.steps, self.all_steps = steps, all_steps
        self.next_step, self.share = next_step, share

    def __len__(self) -> int:
        left = self.all_steps - self.next_step()
        return min(self.steps, left) if left > 0 else self.steps

    def __iter__(self) -> Iterator[list[Crop]]:
        first = self.next_step()
        rank, world = self.share()
        for step in range(first, first + len(self)):
            generator = step_generator(self.seed, "crops", step)
            indices = torch.randint(self.count, (self.batch,), generator=generator).tolist()
            places = torch.rand(self.batch, 2, generator=generator).tolist()
            crops = [(step, i, x, y) for i, (x, y) in zip(indices, places, strict=True)]
            yield crops[rank * self.batch // world : (rank + 1) * self.batch // world]


class TensorCrops(Dataset[Tensor]):
    """Crops of images in memory.

    Args:
        images: (N, C, H, W) uint8.
        size: Side of the square crops; images that are smaller are not cropped.
    """

    def __init__(self, images: Tensor, size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, crop: Crop) -> Tensor:
        """Return one crop, (C, size, size) uint8."""
        _, index, x, y = crop
        image = self.images[index]
        height, width = min(self.size, image.shape[-2]), min(self.size, image.shape[-1])
        top = round(y * (image.shape[-2] - height))
        left = round(x * (image.shape[-1] - width))
        return image[:, top : top + height, left : left + width]


class FileCrops(Dataset[Tensor]):
    """Crops of image files, each read when it is drawn.

    Images smaller than the crop are enlarged. A file that cannot be read raises: training on other
    images than the record says would be worse than stopping.

    Args:
        paths: The image files.
        size: Side of the square crops.
        channels: 3 (RGB) or 1 (grey).
    """

    def __init__(self, paths: list[Path], size: int, channels: int) -> None:
        self.paths, self.size, self.channels = paths, size, channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, crop: Crop) -> Tensor:
        """Return one crop, (C, size, size) uint8."""
        _, index, x, y = crop
        image = read_named(self.paths[index]).image.convert("RGB" if self.channels == 3 else "L")
        if (short := min(image.size)) < self.size:
            enlarged = [max(self.size, round(side * self.size / short)) for side in image.size]
            image = image.resize((enlarged[0], enlarged[1]), Image.Resampling.BICUBIC)
        left = round(x * (image.width - self.size))
        top = round(y * (image.height - self.size))
        array = np.array(image.crop((left, top, left + self.size, top + self.size)))
        return torch.from_numpy(array.reshape(self.size, self.size, -1)).permute(2, 0, 1)


def step_loader(
    images: Tensor | list[Path],
    size: int,
    channels: int,
    recipe: PurifyingRecipe,
    next_step: Callable[[], int],
) -> DataLoader[Tensor]:
    """Return a loader of the crops of an epoch; files are read by worker processes.

    Args:
        images: (N, C, H, W) uint8, or image files.
        size: Side of the square crops.
        channels: 3 (RGB) or 1 (grey).
        recipe: Batch, steps per epoch and seed.
        next_step: Returns the number of the next step, at the start of an epoch.

    Returns:
        A loader of (B, C, size, size) uint8.
    """
    sampler = StepSampler(
        len(images), recipe.batch, recipe.epoch_steps, recipe.steps, recipe.seed, next_step
    )
    if isinstance(images, Tensor):
        return DataLoader(TensorCrops(images, size), batch_sampler=sampler)
    return DataLoader(
        FileCrops(images, size, channels),
        batch_sampler=sampler,
        num_workers=2,
        persistent_workers=True,
    )


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
