"""A large photograph, purified or turned into a file and back, by this package and by Pillow."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image
from torch import Tensor

from comdefend import zoo
from comdefend.bench.jobs import Job
from comdefend.codec import compress, decompress
from comdefend.data.image import ImageCanvas, ReadImage
from comdefend.engines import open_engine
from comdefend.nn.images import to_bytes
from comdefend.purify.batches import Batches


def open_photograph(job: Job, images: Tensor, threads: int) -> Callable[[], Any]:
    """Return a function that does a job once, on the first of (N, 3, H, W) images in [0, 1].

    Pillow's formats are written as it writes them when nothing else is asked for.

    Raises:
        ExtraMissingError: The extra ``codec`` or the engine is not installed.
    """
    pixels = to_bytes(images[0]).permute(1, 2, 0)
    image = Image.fromarray(pixels.numpy())
    if job.kind == "purify":
        return _purify(job, image, threads)
    encode, decode = _formats(job)
    if job.kind == "compress":
        return partial(encode, image)
    return partial(decode, encode(image))


def _purify(job: Job, image: Image.Image, threads: int) -> Callable[[], None]:
    engine = open_engine(zoo.load(job.name), job.engine, threads=threads)

    def purify() -> None:
        batches = Batches(engine)
        batches.add(ImageCanvas(ReadImage(image.copy()), 3), lambda error: None)
        batches.flush()

    return purify


def _formats(job: Job) -> tuple[Callable[[Image.Image], bytes], Callable[[bytes], Image.Image]]:
    if job.engine != "Pillow":
        return (
            partial(compress, weights=job.name, engine=job.engine),
            partial(decompress, engine=job.engine),
        )
    return partial(_saved, format=job.name), _opened


def _saved(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def _opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image
