"""What the benchmark and its workers say to each other, as lines of JSON."""

import msgspec

from comdefend.bench.jobs import Job, Shape


class Open(msgspec.Struct, tag=True):
    """The first request: a job, the channels and shape of its images, and its threads."""

    job: Job
    channels: int
    shape: Shape
    threads: int


class Run(msgspec.Struct, tag=True):
    """Time this many calls."""

    calls: int


class Judge(msgspec.Struct, tag=True):
    """Compare a purifier's output with that of float32 torch, and with its images."""


Request = Run | Judge


class Opened(msgspec.Struct, tag=True):
    """The job is open: seconds of a call, memory before it was opened, and since, in MB."""

    seconds: float
    base_mb: float
    resident_mb: float


class Refused(msgspec.Struct, tag=True):
    """The job cannot be done here."""

    reason: str


class Timed(msgspec.Struct, tag=True):
    """Seconds of a call, and the most memory that the process has held, in MB."""

    seconds: float
    resident_mb: float


class Quality(msgspec.Struct, frozen=True):
    """How good a purifier's output is; the attributes are those of `comdefend.bench.record.Row`."""

    psnr_to_float32: float | None
    flipped_bits: float
    psnr_to_images: float
