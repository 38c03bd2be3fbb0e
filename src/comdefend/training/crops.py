"""Random crops, of images in memory or of files, as steps need them."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from comdefend.common.atomic import make_folder
from comdefend.data.image_files import read_named
from comdefend.data.listing import WAY_OUT, unusable
from comdefend.errors import ImageError
from comdefend.training.batches import process_share, step_generator
from comdefend.training.kinds import GuidedRecipe, PurifierRecipe, PurifyingRecipe
from comdefend.training.prepared import held_out_count

# Photographs with more pixels are shrunk to this many when they are decoded. Crops of a few hundred
# pixels from larger ones would show little but blur.
_KEPT_PIXELS = 2**20
# Of processes that cut crops: enough for a GPU.
_MOST_WORKERS = 8


class Crop(NamedTuple):
    """Where a crop lies.

    Attributes:
        step: The step that it belongs to.
        image: Number of the image.
        x: From 0 for the left edge of the image to 1 for the right.
        y: From 0 for the top to 1 for the bottom.
        zoom: From 0 for pixels as they are to 1 for the smallest scale.
        mirrored: Whether left and right change places, where the recipe flips.
    """

    step: int
    image: int
    x: float
    y: float
    zoom: float = 0.0
    mirrored: bool = False


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
            drawn = torch.rand(2 * self.batch, 2, generator=generator)
            places, others = drawn.split(self.batch)
            crops = [
                Crop(step, i, x, y, zoom, mirror < 0.5)
                for i, (x, y), (zoom, mirror) in zip(
                    indices, places.tolist(), others.tolist(), strict=True
                )
            ]
            yield crops[rank * self.batch // world : (rank + 1) * self.batch // world]


class TensorCrops(Dataset[Tensor]):
    """Crops of images in memory, as large as they are.

    Args:
        images: (N, C, H, W) uint8.
        size: Side of the square crops; images that are smaller are not cropped.
        flip: Mirror the crops that say so.
    """

    def __init__(self, images: Tensor, size: int, flip: bool = False) -> None:
        self.images, self.size, self.flip = images, size, flip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, crop: Crop) -> Tensor:
        """Return one crop, (C, size, size) uint8."""
        image = self.images[crop.image]
        height, width = min(self.size, image.shape[-2]), min(self.size, image.shape[-1])
        top = round(crop.y * (image.shape[-2] - height))
        left = round(crop.x * (image.shape[-1] - width))
        cut = image[:, top : top + height, left : left + width]
        return cut.flip(-1) if self.flip and crop.mirrored else cut


class FileCrops(Dataset[Tensor]):
    """Crops of image files, at random scales.

    Every file is decoded once, into a file that is mapped into memory: the system keeps in memory
    what fits. It has no name and goes with the process.

    Args:
        paths: The image files.
        size: Side of the square crops; images smaller than it are enlarged.
        channels: 3 (RGB) or 1 (grey).
        zoom: The largest factor by which what a crop shows is shrunk; factors are drawn evenly on a
            logarithmic scale.
        flip: Mirror the crops that say so.
        folder: Where the decoded pixels go, 3 MB for a colour image of a megapixel or more.

    Raises:
        ImageError: Files cannot be read; the message names them. Training on other images than the
            record says would be worse than stopping.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        channels: int,
        zoom: float = 1.0,
        flip: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.paths = list(paths)
        self.size, self.zoom, self.flip = size, zoom, flip
        self.shapes: list[tuple[int, int, int]] = []
        self.starts: list[int] = []
        with tempfile.TemporaryFile(dir=folder) as file:
            bad: list[str] = []
            for path in paths:
                try:
                    pixels = _decoded(path, size, channels)
                except ImageError as error:
                    bad.append(str(error))
                    continue
                self.starts.append(file.tell())
                self.shapes.append(pixels.shape)
                file.write(pixels.tobytes())
            if bad:
                raise ImageError(f"{unusable(bad, len(paths))}. {WAY_OUT}")
            file.flush()
            self.pixels = np.memmap(file, np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.shapes)

    def image(self, index: int) -> Image.Image:
        """Return a decoded image."""
        start, shape = self.starts[index], self.shapes[index]
        pixels = self.pixels[start : start + math.prod(shape)].reshape(shape)
        return Image.fromarray(pixels.squeeze(-1) if shape[-1] == 1 else pixels)

    def __getitem__(self, crop: Crop) -> Tensor:
        """Return one crop, (C, size, size) uint8."""
        image = self.image(crop.image)
        side = min(round(self.size * self.zoom**crop.zoom), *image.size)
        left, top = round(crop.x * (image.width - side)), round(crop.y * (image.height - side))
        cut = image.crop((left, top, left + side, top + side))
        if side != self.size:
            cut = cut.resize((self.size, self.size), Image.Resampling.BICUBIC)
        if self.flip and crop.mirrored:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        array = np.array(cut).reshape(self.size, self.size, -1)
        return torch.from_numpy(array).permute(2, 0, 1)


def _decoded(path: Path, size: int, channels: int) -> np.ndarray:
    """Return (H, W, C) uint8 pixels, neither far larger than needed nor smaller than a crop."""
    image = read_named(path).image.convert("RGB" if channels == 3 else "L")
    factor = min(1.0, math.sqrt(_KEPT_PIXELS / (image.width * image.height)))
    factor = max(factor, size / min(image.size))
    if factor != 1:
        width, height = (max(size, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.array(image).reshape(image.height, image.width, channels)


def split_images(
    images: Tensor | list[Path],
    recipe: PurifierRecipe | GuidedRecipe,
    channels: int,
    centre: int,
    folder: Path | None = None,
) -> tuple[Tensor, Tensor | FileCrops]:
    """Return images to validate on, in memory, and those to train on.

    Args:
        images: (N, C, H, W) uint8, or image files; of these, the centres are held out, as large as
            the smallest of them allows.
        recipe: How many to hold out, and how to cut crops of files.
        channels: 3 (RGB) or 1 (grey).
        centre: Largest side of the centres, in pixels.
        folder: Where the decoded pixels of files go, which may not exist yet.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe.seed))
    count = held_out_count(len(images), recipe)
    held_out, kept = order[:count], order[count:]
    if isinstance(images, Tensor):
        return images[held_out], images[kept]
    if folder is not None:
        make_folder(folder)
    whole = FileCrops([images[i] for i in held_out], 1, channels, folder=folder)
    whole.size = min(centre, *(min(shape[:2]) for shape in whole.shapes))
    crops = [whole[Crop(0, i, 0.5, 0.5)] for i in range(len(whole))]
    training = FileCrops(
        [images[i] for i in kept], recipe.crop, channels, recipe.zoom, recipe.flip, folder
    )
    return torch.stack(crops), training


def step_loader(
    images: Tensor | FileCrops,
    size: int,
    recipe: PurifyingRecipe,
    next_step: Callable[[], int],
) -> DataLoader[Tensor]:
    """Return a loader of the crops of an epoch.

    Args:
        images: (N, C, H, W) uint8, or decoded files.
        size: Side of the square crops.
        recipe: Batch, steps per epoch and seed.
        next_step: Returns the number of the next step, at the start of an epoch.

    Returns:
        A loader of (B, C, size, size) uint8.
    """
    sampler = StepSampler(
        len(images), recipe.batch, recipe.epoch_steps, recipe.steps, recipe.seed, next_step
    )
    if isinstance(images, Tensor):
        flip = isinstance(recipe, PurifierRecipe | GuidedRecipe) and recipe.flip
        return DataLoader(TensorCrops(images, size, flip), batch_sampler=sampler)
    # Processes that cut crops while this one trains.
    workers = max(1, min(_MOST_WORKERS, (os.cpu_count() or 1) - 1))
    return DataLoader(images, batch_sampler=sampler, num_workers=workers, persistent_workers=True)
