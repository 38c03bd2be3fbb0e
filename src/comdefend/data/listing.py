"""Labelled images that are not decoded yet: drawn first, checked by their headers, then decoded."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from comdefend.data.image import resized_size
from comdefend.data.image_files import decode_image, quiet_decoders
from comdefend.data.image_set import ImageSet
from comdefend.errors import DataMissingError, ImageError, InputError

Encoded = Path | bytes | None
"""An image as it is stored: a file, its content, or nothing where there should be one."""

_PLAIN = ("RGB", "RGBA", "L", "LA", "P", "1")
_GREY = ("L", "LA", "1")
WAY_OUT = "Move them away, or rename them to begin with a dot"
"""What to do about files that cannot be read."""

# So many bad files are named, and so many images are decoded at once.
_NAMED, _BATCH = 10, 64
# EXIF's tag of the orientation, and its values that turn an image by a quarter.
_ORIENTATION, _QUARTERS = 0x0112, (5, 6, 7, 8)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which images of a data set are wanted, and how.

    Attributes:
        channels: 3 (RGB) or 1 (grey); None for the files' own, RGB where they differ.
        count: So many, drawn at random; 0 for all, in an order drawn at random; None for all in
            the order of the files.
        seed: Of the draw.
        resize: Resize the shorter side to this; 0 leaves it. Bilinear with antialiasing, as
            torchvision's ``Resize``.
        crop: Then cut out the central square of this side; 0 leaves the image.
        usual: Resize and crop to take where the images differ in size, or from that crop.
        skip_unreadable: Leave out files that cannot be read, and say so.
    """

    channels: int | None = None
    count: int | None = None
    seed: int = 0
    resize: int = 0
    crop: int = 0
    usual: tuple[int, int] | None = None
    skip_unreadable: bool = False

    def order(self, there: int) -> list[int]:
        """Return the positions of the images, in the order in which they are wanted."""
        if self.count is None:
            return list(range(there))
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randperm(there, generator=generator)[: self.count or there]
        return [int(position) for position in drawn]

    def settled(self, sizes: Iterable[tuple[int, int]]) -> tuple["Wanted", list[str]]:
        """Return what is wanted of images of these sizes, with a note if that is the usual."""
        if self.usual is None or set(sizes) <= {(self.usual[1], self.usual[1])}:
            return replace(self, usual=None), []
        resize, crop = self.usual
        note = (
            f"the images are resized to {resize} and cropped to {crop}x{crop}, as the classifier "
            "takes them; --resize and --crop say otherwise, 0 leaves the images (resize= and "
            "crop= in Python)"
        )
        return replace(self, resize=resize, crop=crop, usual=None), [note]

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height to which an image is resized."""
        return resized_size(width, height, self.resize) if self.resize else (width, height)

    def final_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of an image as it is wanted."""
        return (self.crop, self.crop) if self.crop else self.fitted_size(width, height)

    def check_crop(self, width: int, height: int, name: str = "") -> None:
        """Raise InputError if the crop is larger than an image."""
        if self.crop > min(width, height):
            raise InputError(
                f"crop: the images are {height}x{width}{name}, {self.crop} does not fit"
            )

    def fit(self, image: Image.Image) -> Image.Image:
        """Return an image, resized and cropped.

        Raises:
            InputError: The crop is larger than the image.
        """
        if (size := self.fitted_size(*image.size)) != image.size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        if not self.crop:
            return image
        width, height = image.size
        self.check_crop(width, height)
        left, top = (width - self.crop) // 2, (height - self.crop) // 2
        return image.crop((left, top, left + self.crop, top + self.crop))


@dataclass(frozen=True)
class Listing:
    """Labelled images of a data set, not decoded yet.

    Attributes:
        where: What messages call the data set.
        labels: One for each image.
        fetch: Positions -> position, name and encoded image of each, in any order.
        classes, notes: As for `ImageSet`.
    """

    where: str
    labels: Sequence[int]
    fetch: Callable[[Iterable[int]], Iterator[tuple[int, str, Encoded]]]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, wanted: Wanted) -> ImageSet:
        """Read the images that are wanted; no others are decoded.

        Raises:
            DataMissingError: There are no images.
            InputError: The images differ in size, or the crop does not fit.
            ImageError: Files cannot be read; the message names them.
        """
        order = wanted.order(len(self.labels))
        heads, bad = self._heads(order)
        notes = [*self.notes, *self._without(bad, len(order), wanted)]
        heads = {position: heads[position] for position in order if position in heads}
        grey = {position for position, head in heads.items() if head.grey}
        if grey and len(grey) < len(heads) and wanted.channels is None:
            notes.append(f"{self.where}: {len(grey)} of {len(heads)} images are grey; all are RGB")
        wanted, usual = wanted.settled(head.size for head in heads.values())
        notes += usual
        self._check_sizes(((head.name, *head.size) for head in heads.values()), wanted)
        mode = "L" if wanted.channels == 1 or len(grey) == len(heads) else "RGB"
        mode = "RGB" if wanted.channels == 3 else mode
        arrays, bad = self._decoded(list(heads), wanted, mode)
        notes += self._without(bad, len(order), wanted)
        kept = [position for position in heads if position in arrays]
        if not kept:
            raise DataMissingError(f"{self.where}: holds no images")
        # A header may be wrong about it.
        sizes = ((heads[p].name, *arrays[p].shape[:0:-1]) for p in kept)
        self._check_sizes(sizes, replace(wanted, resize=0, crop=0))
        pixels = torch.stack([arrays.pop(position) for position in kept])
        labels = torch.tensor([self.labels[position] for position in kept], dtype=torch.int64)
        return ImageSet(pixels, labels, self.classes, tuple(notes))

    def _heads(self, order: Sequence[int]) -> tuple[dict[int, "_Head"], list[str]]:
        heads, bad = {}, []
        with quiet_decoders():
            for position, name, encoded in self.fetch(order):
                try:
                    heads[position] = _head(name, encoded)
                except ImageError as error:
                    bad.append(f"{name}: {error}")
        return heads, bad

    def _decoded(
        self, order: Sequence[int], wanted: Wanted, mode: str
    ) -> tuple[dict[int, Tensor], list[str]]:
        """Decode images in threads; return them by position, and what is wrong with the others."""
        bad: list[str] = []

        def decode(item: tuple[int, str, Encoded]) -> tuple[int, Tensor] | None:
            position, name, encoded = item
            try:
                with _opened(encoded) as file:
                    image = decode_image(file).image.convert(mode)
            except ImageError as error:
                bad.append(f"{name}: {error}")
                return None
            return position, _tensor(wanted.fit(image))

        items = self.fetch(order)
        arrays: dict[int, Tensor] = {}
        with quiet_decoders(), ThreadPoolExecutor() as pool:
            while batch := list(islice(items, _BATCH)):
                arrays.update(item for item in pool.map(decode, batch) if item is not None)
        return arrays, bad

    def _without(self, bad: Sequence[str], among: int, wanted: Wanted) -> list[str]:
        """Return a note on what is left out, or refuse to go on without it."""
        if not bad:
            return []
        said = unusable(bad, among)
        if wanted.skip_unreadable:
            return [f"{self.where}: left out, {said}"]
        raise ImageError(
            f"{self.where}: {said}. {WAY_OUT}; an evaluation leaves them out with "
            "--skip-unreadable (skip_unreadable=True)"
        )

    def _check_sizes(self, sizes: Iterable[tuple[str, int, int]], wanted: Wanted) -> None:
        kinds: dict[tuple[int, int], str] = {}
        for name, width, height in sizes:
            wide, high = wanted.fitted_size(width, height)
            wanted.check_crop(wide, high, f" ({name})")
            kinds.setdefault(wanted.final_size(width, height), name)
        if len(kinds) < 2:
            return
        some = ", ".join(f"{name} {h}x{w}" for (w, h), name in list(kinds.items())[:4])
        raise InputError(
            f"{self.where}: images must have one size here, found {len(kinds)} (height x width): "
            f"{some}; an evaluation makes them equal by, for example, --resize 256 --crop 224"
        )

    def check(self) -> None:
        """Check the headers of all files.

        Raises:
            ImageError: Some cannot be used; the message names them.
        """
        self._without(self._heads(range(len(self.labels)))[1], len(self.labels), Wanted())


def fit_set(data: ImageSet, wanted: Wanted) -> ImageSet:
    """Return those of the images in memory that are wanted, resized and cropped."""
    if wanted.count is not None:
        data = data.subset(torch.tensor(wanted.order(len(data)), dtype=torch.int64))
    height, width = data.images.shape[-2:]
    wanted, usual = wanted.settled([(width, height)])
    data = replace(data, notes=(*data.notes, *usual))
    if wanted.resize and wanted.fitted_size(width, height) != (width, height):
        # Channel by channel, since in memory there may be any number of them.
        resized = [
            torch.cat([_tensor(wanted.fit(Image.fromarray(c.numpy()))) for c in image])
            for image in data.images
        ]
        return replace(data, images=torch.stack(resized))
    if side := wanted.crop:
        wanted.check_crop(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        cut = data.images[..., top : top + side, left : left + side].contiguous()
        return replace(data, images=cut)
    return data


def unusable(bad: Sequence[str], among: int) -> str:
    """Return what is wrong with the images that cannot be used, of so many."""
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    named = "; ".join(sorted(bad)[:_NAMED])
    return f"{len(bad)} of {among} images cannot be used: {named}{more}"


@dataclass(frozen=True)
class _Head:
    name: str
    size: tuple[int, int]
    grey: bool


def _head(name: str, encoded: Encoded) -> _Head:
    """Return what an image's header says; whatever looks wrong is decoded to be sure."""
    with _opened(encoded) as file:
        try:
            with Image.open(file) as image:
                width, height = image.size
                deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))
                animated = getattr(image, "is_animated", False)
                if image.mode in _PLAIN and not deep and not animated:
                    if image.getexif().get(_ORIENTATION) in _QUARTERS:
                        width, height = height, width
                    return _Head(name, (width, height), image.mode in _GREY)
        # Decoding says what is wrong, if anything is.
        except Exception:
            pass
        file.seek(0)
        decoded = decode_image(file).image
        return _Head(name, decoded.size, decoded.mode in _GREY)


def _opened(encoded: Encoded) -> BinaryIO:
    if encoded is None:
        raise ImageError("holds no image bytes")
    if isinstance(encoded, bytes):
        return io.BytesIO(encoded)
    try:
        return encoded.open("rb")
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from error


def _tensor(image: Image.Image) -> Tensor:
    array = np.asarray(image)
    return (
        torch.from_numpy(array.reshape(*array.shape[:2], -1).copy()).permute(2, 0, 1).contiguous()
    )
