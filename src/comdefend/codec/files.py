"""Compressing and decompressing files and folders of them."""

import stat
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from comdefend import zoo
from comdefend.codec.codec import Codec, open_codec
from comdefend.codec.container import SUFFIX, read_header
from comdefend.codec.describe import Info, info
from comdefend.codec.few import are_few
from comdefend.codec.reading import (
    codec_for,
    open_image,
    pixel_limit,
    rebuild_image,
    truncated_note,
)
from comdefend.codec.writing import compress_image
from comdefend.common.defaults import RECOMMENDED
from comdefend.common.places import Place, check_folder, exists, place, whole_file
from comdefend.data.image import ReadImage
from comdefend.data.image_files import (
    FORMATS,
    LOSSY,
    NEEDS_MEMORY,
    SUFFIXES,
    decode_image,
    quiet_decoders,
    read_image,
)
from comdefend.data.image_output import write_image
from comdefend.errors import (
    DataMissingError,
    ImageError,
    InputError,
    OutputError,
    RemoteError,
    out_of_memory,
)
from comdefend.purify.files import (
    LossyOutputWarning,
    PassedOverWarning,
    counted,
    what_to_skip,
)
from comdefend.purify.plan import plan


@dataclass(frozen=True)
class CodedFile:
    """What became of one file.

    Attributes:
        source: The file read.
        target: The file written, or that would have been.
        status: ``done``, ``skipped`` (the target was there) or ``failed``.
        error: Why it failed, in one line; empty otherwise.
        notes: What was left behind, or is missing, a few words each.
        pixels: Of the image, where it was compressed.
        code_bits: Bits of its code before entropy coding.
        size: Bytes of the compressed file.
    """

    source: Place
    target: Place
    status: Literal["done", "skipped", "failed"]
    error: str = ""
    notes: tuple[str, ...] = ()
    pixels: int = 0
    code_bits: int = 0
    size: int = 0


Progress = Callable[[CodedFile, int], None]


def compress_files(
    inputs: str | Place | Iterable[str | Place],
    output: str | Place,
    weights: str | Path = RECOMMENDED,
    *,
    bpp: float | None = None,
    overwrite: bool = False,
    device: torch.device | str = "cpu",
    engine: str = "auto",
    max_megapixels: float | None = None,
    progress: Progress | None = None,
) -> list[CodedFile]:
    """Compress image files and folders of them; a bad file never stops the others.

    Args:
        inputs: Image files, and folders that are searched recursively; one or many; paths or
            addresses, as for `purify_files`.
        output: A folder, in which the structure of input folders is kept; or, for a single input
            file, the file to write, if it ends in ``.comd``.
        weights: The name of shipped weights, or the path of a weight file.
        bpp: Bits of code per pixel; replaces the rate in the name of the weights. By default that
            rate, or the highest.
        overwrite: Compress files again whose output exists.
        device: Where to compute.
        engine: What computes, as for `open_engine`; ``auto`` takes torch for few pixels.
        max_megapixels: Larger images fail; by default 179, or twice what
            `PIL.Image.MAX_IMAGE_PIXELS` says.
        progress: Called after each file with its result and the total number of files.

    Returns:
        What became of each file, in the order of the inputs.

    Raises:
        InputError, DataMissingError, ExtraMissingError, OutputError, RemoteError, WeightsError: As
            for `purify_files`.
    """
    limit = pixel_limit(max_megapixels)
    job = _Job(inputs, output, None, overwrite, None, {"comd": (SUFFIX,)})
    with quiet_decoders(None if max_megapixels is None else limit):
        if engine == "auto" and are_few(job.pairs, job.skips):
            engine = "torch"
        codec = open_codec(weights, bpp, engine, device)
        return job.run(lambda source, target: _compress(source, target, codec), progress)


def decompress_files(
    inputs: str | Place | Iterable[str | Place],
    output: str | Place,
    weights: str | Path | None = None,
    *,
    bpp: float | None = None,
    format: str | None = None,
    overwrite: bool = False,
    device: torch.device | str = "cpu",
    engine: str = "auto",
    max_megapixels: float | None = None,
    progress: Progress | None = None,
) -> list[CodedFile]:
    """Rebuild images from compressed files and folders of them; a bad file stops no others.

    Args:
        inputs: Compressed files, and folders that are searched recursively; one or many; paths or
            addresses, as for `purify_files`.
        output: A folder, in which the structure of input folders is kept; or, for a single input
            file, the file to write, if its suffix is that of an image.
        weights: Where files were made with weights that do not ship: the path of these.
        bpp: Bits of code per pixel to rebuild; by default all of each file.
        format: As for `purify_files`.
        overwrite: Rebuild files again whose output exists.
        device, engine, progress: As for `compress_files`.
        max_megapixels: Larger images fail before any memory is taken for them; by default 179, or
            twice what `PIL.Image.MAX_IMAGE_PIXELS` says.

    Returns:
        What became of each file, in the order of the inputs.

    Raises:
        InputError, DataMissingError, ExtraMissingError, OutputError, RemoteError, WeightsError: As
            for `purify_files`.
    """
    limit = pixel_limit(max_megapixels)
    job = _Job(inputs, output, format, overwrite, {SUFFIX}, FORMATS)
    if any(SUFFIXES[target.suffix.lower()] in LOSSY for _, target in job.pairs):
        warnings.warn(
            "JPEG is lossy: the files do not hold exactly what the decoder returned",
            LossyOutputWarning,
            stacklevel=2,
        )
    if weights is not None:
        # What is wrong with these is wrong for all files.
        zoo.checksum(weights)
    if engine == "auto" and are_few(job.pairs, job.skips, _pixel_count):
        engine = "torch"

    def rebuild(source: Place, target: Place) -> CodedFile:
        opened = open_image(_read(source), limit, bpp)
        read = rebuild_image(opened, codec_for(opened, weights, engine, device))
        notes = (*truncated_note(opened), *write_image(target, read))
        return CodedFile(source, target, "done", notes=notes)

    return job.run(rebuild, progress)


class _Job:
    """The files of a job: what is read and written, and one file after the other."""

    def __init__(
        self,
        inputs: str | Place | Iterable[str | Place],
        output: str | Place,
        format: str | None,
        overwrite: bool,
        reads: set[str] | None,
        writes: dict[str, tuple[str, ...]],
    ) -> None:
        given = [inputs] if isinstance(inputs, str | Place) else inputs
        self._results: list[CodedFile] = []
        self._passed_over: list[Place] = []
        into = place(output)

        def unreadable(error: OSError) -> None:
            reason = f"cannot be read ({error.strerror})"
            self._results.append(CodedFile(place(error.filename), into, "failed", reason))

        self.pairs = plan(
            [place(one) for one in given], into, format, unreadable, self._passed_over.append,
            reads=reads, writes=writes,
        )  # fmt: skip
        self.skips = what_to_skip(into, self.pairs, overwrite)

    def run(
        self, work: Callable[[Place, Place], CodedFile], progress: Progress | None
    ) -> list[CodedFile]:
        check_folder(self.pairs[0][1].parent)
        for source, target in self.pairs:
            result = _outcome(source, target, work, self.skips)
            self._results.append(result)
            if progress is not None:
                progress(result, len(self.pairs))
        if self._passed_over:
            warnings.warn(counted(self._passed_over), PassedOverWarning, stacklevel=3)
        return self._results


def _outcome(
    source: Place,
    target: Place,
    work: Callable[[Place, Place], CodedFile],
    skips: Callable[[Place], bool],
) -> CodedFile:
    try:
        return CodedFile(source, target, "skipped") if skips(target) else work(source, target)
    except (ImageError, InputError, OutputError, RemoteError) as error:
        reason = str(error)
    except Exception as error:
        if not out_of_memory(error):
            raise
        reason = NEEDS_MEMORY
    return CodedFile(source, target, "failed", reason)


def _compress(source: Place, target: Place, codec: Codec) -> CodedFile:
    read = _image(source)
    data, notes = compress_image(read, codec)
    with whole_file(target) as file:
        file.write(data)
    header = read_header(data)
    done = CodedFile(source, target, "done", notes=(*read.notes, *notes), pixels=header.pixels)
    height, width = header.code_size
    return replace(done, code_bits=header.rates[-1] * height * width, size=len(data))


def _image(source: Place) -> ReadImage:
    if isinstance(source, Path):
        return read_image(source)
    with source.fetched() as file:
        return decode_image(file)


def _read(source: Place) -> bytes:
    if not isinstance(source, Path):
        with source.fetched() as file:
            return file.read()
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            raise ImageError("is not a regular file")
        return source.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from error


def read_info(path: str | Place) -> Info:
    """Tell what a compressed file holds: see `info`.

    Args:
        path: A path, or an address as for `purify_files`.

    Raises:
        DataMissingError: There is no such file.
        ImageError: As for `info`; the message names the path.
        InputError, ExtraMissingError, RemoteError: As for `purify_files`.
    """
    source = place(path)
    if not exists(source):
        raise DataMissingError(f"{source}: no such file")
    try:
        return info(_read(source))
    except ImageError as error:
        raise ImageError(f"{source}: {error}") from error


def _pixel_count(source: Path) -> int:
    """Return the number of pixels in a compressed file's header; 0 if it is none."""
    try:
        with source.open("rb") as file:
            return read_header(file.read(1 << 10)).pixels
    except (ImageError, OSError):
        return 0
