"""Purifying image files: the main job."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comdefend import zoo
from comdefend.common.defaults import RECOMMENDED
from comdefend.common.places import Place, already_in, check_folder, exists, place
from comdefend.data.image_files import LOSSY, PLUGINS, SUFFIXES, quiet_decoders
from comdefend.engines.arrays import open_byte_engine
from comdefend.engines.backends import ENGINES
from comdefend.engines.choice import fastest_engine
from comdefend.errors import InputError
from comdefend.purify.pipeline import PurifiedFile, purify_pairs
from comdefend.purify.plan import plan
from comdefend.purify.tiling import DEFAULT_TILE, Purifier, check_tile

if TYPE_CHECKING:
    import torch

    from comdefend.nn.purifier import ComDefend


class LossyOutputWarning(UserWarning):
    """The output format changes the purified pixels once more."""


class PassedOverWarning(UserWarning):
    """The input folders hold files that were not purified."""


def purify_files(
    inputs: str | Place | Iterable[str | Place],
    output: str | Place,
    weights: "str | Path | ComDefend" = RECOMMENDED,
    *,
    bpp: float | None = None,
    resize: int = 0,
    format: str | None = None,
    overwrite: bool = False,
    device: "torch.device | str | None" = None,
    engine: str = "auto",
    precision: str = "auto",
    tile: int = DEFAULT_TILE,
    max_megapixels: float | None = None,
    progress: Callable[[PurifiedFile, int], None] | None = None,
) -> list[PurifiedFile]:
    """Purify image files and folders of them.

    A bad file never stops the others: it is returned as ``failed`` with the reason. Outputs are
    written completely or not at all, and existing ones are skipped. Metadata that is damaged, or
    that the output format does not hold, is left behind with a note. Other files in the folders,
    and links to folders, are passed over, which a warning says once; hidden ones are ignored.

    Files are read ahead and written behind while the engine computes; memory is bounded, however
    many files there are.

    Inputs and output may be addresses such as ``s3://bucket/photos``, of every protocol of fsspec
    (the extra ``remote``). Each file is fetched, purified and sent by itself. Where fsspec finds
    credentials and settings is up to the protocol: for S3, the variables that begin with ``AWS_``.

    Args:
        inputs: Image files, and folders that are searched recursively; one or many.
        output: A folder, in which the structure of input folders is kept; or, for a single input
            file, the file to write, if its suffix is that of an image.
        weights: A purifier in evaluation mode, the name of shipped weights, or the path of a
            weight file.
        bpp: Bits per pixel, for weights that work at several rates; replaces the rate in the name
            of the weights. By default that rate, or the highest.
        resize: Shrink images to this shorter side first, in pixels: what the classifier takes. 0
            leaves them.
        format: ``png``, ``jpeg``, ``webp``, ``tiff`` or ``bmp``; by default the suffix of an
            output file, else PNG. Only JPEG is lossy, which a warning says once.
        overwrite: Purify files again whose output exists.
        device: Where to compute; by default where the purifier is, or the CPU.
        engine: What computes, as for `open_engine`.
        precision: What it computes in, as for `open_engine`.
        tile: Side of the tiles in which large images are computed, in pixels.
        max_megapixels: Larger images fail, as they may be decompression bombs; by default 179, or
            twice what `PIL.Image.MAX_IMAGE_PIXELS` says.
        progress: Called after each file, in order, with its result and the total number of files.

    Returns:
        What became of each file, in the order of the inputs.

    Raises:
        InputError: No images, a negative size, an unknown format, outputs that would collide or be
            the next run's inputs, a rate that the weights do not have, an unknown engine or
            precision, one that does not fit this purifier or hardware, a tile below 1 pixel, a
            limit that is not above 0, or a purifier in training mode.
        DataMissingError: An input does not exist.
        ExtraMissingError: The engine is not installed, or what an address needs.
        OutputError: The output folder cannot be made or written to.
        RemoteError: An address cannot be reached.
        WeightsError: The weights are corrupt.
    """
    check_tile(tile)
    job = planned(inputs, output, format, overwrite, resize, max_megapixels)
    results = list(job.failed)
    with quiet_decoders(None if max_megapixels is None else max_megapixels * 1e6):
        opened = open_for_files(weights, bpp, device, engine, precision)
        # An output folder that cannot be written to is reported before the first file is purified.
        check_folder(job.pairs[0][1].parent)
        with closing(purify_pairs(opened, job.pairs, job.skips, tile, resize)) as purified:
            for result in purified:
                results.append(result)
                if progress is not None:
                    progress(result, len(job.pairs))
    job.warn_of_others()
    return results


@dataclass(frozen=True)
class Job:
    """What is to be done, wherever it is computed.

    Attributes:
        pairs: Source and target of each file.
        skips: Tells of a target whether its file is left as it is.
        failed: What could not be listed.
        passed_over: Other files in the folders, and links to folders.
    """

    pairs: list[tuple[Place, Place]]
    skips: Callable[[Place], bool]
    failed: list[PurifiedFile]
    passed_over: list[Place]

    def warn_of_others(self) -> None:
        """Say what was passed over."""
        if self.passed_over:
            warnings.warn(counted(self.passed_over), PassedOverWarning, stacklevel=3)


def planned(
    inputs: str | Place | Iterable[str | Place],
    output: str | Place,
    format: str | None,
    overwrite: bool,
    resize: int,
    max_megapixels: float | None,
) -> Job:
    """Check what is asked for, and decide what is read and written.

    Raises:
        InputError, DataMissingError, ExtraMissingError, OutputError, RemoteError: As for
            `purify_files`.
    """
    if resize < 0:
        raise InputError(f"resize must not be negative: {resize}")
    if max_megapixels is not None and not max_megapixels > 0:
        raise InputError(f"max_megapixels must be above 0, not {max_megapixels}")
    failed: list[PurifiedFile] = []
    passed_over: list[Place] = []
    given = [inputs] if isinstance(inputs, str | Place) else inputs
    into = place(output)

    def unreadable(error: OSError) -> None:
        reason = f"cannot be read ({error.strerror})"
        failed.append(PurifiedFile(place(error.filename), into, "failed", reason))

    pairs = plan([place(one) for one in given], into, format, unreadable, passed_over.append)
    if any(SUFFIXES[target.suffix.lower()] in LOSSY for _, target in pairs):
        warnings.warn(
            "JPEG is lossy: the files do not hold exactly what the purifier returned",
            LossyOutputWarning,
            stacklevel=3,
        )
    return Job(pairs, what_to_skip(into, pairs, overwrite), failed, passed_over)


def what_to_skip(
    output: Place, pairs: Sequence[tuple[Place, Place]], overwrite: bool
) -> Callable[[Place], bool]:
    """Return what tells of a target whether its file is left as it is.

    Raises:
        RemoteError: An address cannot be listed.
    """
    if overwrite:
        return lambda target: False
    # A single file needs no list of all that lies beside it.
    return exists if len(pairs) == 1 else already_in(output)


def counted(paths: Sequence[Place]) -> str:
    """Return how many files of each kind were passed over, and the name of one of each."""
    kinds: dict[str, list[Place]] = {}
    for path in paths:
        is_link = isinstance(path, Path) and path.is_dir()
        kind = "links to folders" if is_link else path.suffix.lower() or "without a suffix"
        kinds.setdefault(kind, []).append(path)
    words = [f"{len(of)} {kind} ({of[0]}{', ...' * (len(of) > 1)})" for kind, of in kinds.items()]
    hint = "; to read them: pip install 'comdefend[formats]'" if PLUGINS & kinds.keys() else ""
    return f"passed over: {', '.join(words)}{hint}"


def open_for_files(
    weights: "str | Path | ComDefend",
    bpp: float | None,
    device: "torch.device | str | None",
    engine: str,
    precision: str,
) -> Purifier:
    """Open an engine, without torch where that is not needed; arguments as for `purify_files`.

    Raises:
        InputError, ExtraMissingError, WeightsError: As for `purify_files`.
    """
    name = fastest_engine("cpu") if engine == "auto" else engine
    on_processor = device is None or str(device) == "cpu"
    takes_graphs = name in ENGINES and ENGINES[name].graphs
    if isinstance(weights, str | Path) and on_processor and takes_graphs:
        named = str(weights) if bpp is None else zoo.split_rate(str(weights))[0]
        arrays = zoo.load_arrays(named)
        return open_byte_engine(arrays if bpp is None else arrays.at(bpp), name, precision)
    from comdefend.engines.opening import open_engine

    purifier = open_purifier(weights, bpp)
    return open_engine(purifier if device is None else purifier.to(device), engine, precision)


def open_purifier(weights: "str | Path | ComDefend", bpp: float | None) -> "ComDefend":
    """Return a purifier, at a rate where one is given, and else at that of its name.

    Raises:
        InputError, WeightsError: As for `purify_files`.
    """
    if bpp is None:
        return zoo.load(weights) if isinstance(weights, str | Path) else weights
    if isinstance(weights, str | Path):
        weights = zoo.load(zoo.split_rate(str(weights))[0])
    return weights.at(bpp)
