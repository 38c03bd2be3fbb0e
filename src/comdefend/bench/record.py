"""What a benchmark measured, typed, as JSON on disk."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from comdefend.bench.jobs import Kind, Shape
from comdefend.common.processor import Timed


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure is about.

    Attributes:
        weights: Name of the purifier, classifier or defence.
        engine: What computed it.
        precision: None where it has no choice.
    """

    weights: str
    engine: str
    precision: str | None

    @property
    def engine_name(self) -> str:
        """Engine and precision, as tables show them."""
        return " ".join(part for part in (self.engine, self.precision) if part)


class Row(Subject, frozen=True, kw_only=True):
    """How fast a job is at one shape.

    Attributes:
        kind: As for `comdefend.bench.jobs.Job`.
        shape: (N, C, H, W) of the images.
        threads: How many computed.
        seconds: Median time of a call.
        seconds_quartiles: First and third quartile.
        seconds_rounds: Every round.
        images_per_second: N over ``seconds``.
        gflop: Operations of a call, in 10^9; None where they are not counted.
        gflops: Median speed in GFLOP/s; None where operations are not counted.
        share_of_peak: Median of that speed over a matrix product's in the same rounds.
        resident_mb: The most memory that the process held, in MB of 10^6 bytes.
        psnr_to_float32: Between the purified images and those of float32 torch, in dB; None where
            they are equal, or where nothing is purified.
        flipped_bits: Share of the code's bits that differ from float32 torch's.
        psnr_to_images: Between the purified images and their originals, in dB.
    """

    kind: Kind
    shape: tuple[int, int, int, int]
    threads: int
    seconds: float
    seconds_quartiles: tuple[float, float]
    seconds_rounds: tuple[float, ...]
    images_per_second: float
    gflop: float | None = None
    gflops: float | None = None
    share_of_peak: float | None = None
    resident_mb: int
    psnr_to_float32: float | None = None
    flipped_bits: float | None = None
    psnr_to_images: float | None = None

    @property
    def size(self) -> Shape:
        """N, H and W of the images."""
        count, _, height, width = self.shape
        return count, height, width

    @property
    def area(self) -> int:
        """Pixels of one image."""
        return self.shape[2] * self.shape[3]


class Ratio(Subject, frozen=True, kw_only=True):
    """How one row compares with another; see `comdefend.bench.ratios`.

    Attributes:
        what: ``against_baseline``, ``against_float32``, ``against_resnet`` or ``peak_bfloat16``.
        value: The ratio; above 1 is in the purifier's favour.
        to: What it is compared with; None for the peak.
    """

    what: str
    value: float
    to: Subject | None


class Peak(msgspec.Struct, frozen=True):
    """Median speed of a matrix product in a precision, in GFLOP/s."""

    precision: str
    gflops: float


class LeftOut(Subject, frozen=True, kw_only=True):
    """What could not be timed.

    Attributes:
        shape: (N, C, H, W) at which it failed; None for a matrix product.
        reason: Why, in one line.
    """

    shape: tuple[int, int, int, int] | None
    reason: str


class Record(Timed, frozen=True, kw_only=True):
    """A run of the benchmark.

    Attributes:
        rounds: How often each job was timed, at most.
        torch_mb: Memory of a process that has only imported torch, in MB.
        peaks: Speeds of matrix products.
        rows: Every job at the shapes that were asked for.
        sweep: A few jobs at more shapes, for the figures.
        ratios: Comparisons within ``rows``.
        left_out: What could not be timed.
    """

    rounds: int
    torch_mb: int
    peaks: tuple[Peak, ...]
    rows: tuple[Row, ...]
    sweep: tuple[Row, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


_S = TypeVar("_S", bound=Subject)


def select(rows: Iterable[_S], **wanted: object) -> list[_S]:
    """Return the rows with these attributes: ``select(record.rows, weights="x", size=PHOTO)``."""
    return [row for row in rows if all(getattr(row, key) == v for key, v in wanted.items())]


def fastest(rows: Iterable[Row], **wanted: object) -> Row | None:
    """Return the row with these attributes that took least time; None where there is none."""
    return min(select(rows, **wanted), key=lambda row: row.seconds, default=None)
