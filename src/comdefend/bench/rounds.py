"""Jobs of one shape take turns, round after round, so that a busy moment meets all alike."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comdefend.bench.flops import job_flop
from comdefend.bench.jobs import PRODUCTS, Job, Shape
from comdefend.bench.process import Worker
from comdefend.errors import EngineError

TURN_SECONDS = 0.3
"""A turn repeats the job until about this much time has passed."""

JOB_SECONDS, FEWEST_ROUNDS = 60.0, 3
"""A job that would take longer than this in all rounds sits out the last ones, down to these."""

Refused = dict[Job, tuple[str, Shape | None]]
"""Job -> why it was given up, and at which shape; the products of matrices have none."""
Show = Callable[[str, int], None]
"""Told what is being done, and how many turns that ends."""


@dataclass
class Timing:
    """What was measured of a job at a shape.

    Attributes:
        job: What was timed.
        shape: (N, C, H, W).
        flop: Operations of a call; None where they are not counted.
        base_mb: Memory of its process before it opened anything: that of torch.
        resident_mb: The most memory that its process held while it computed.
        seconds: Of a call, in each round.
        peaks: By precision, the GFLOP/s of a matrix product in each of the same rounds.
    """

    job: Job
    shape: tuple[int, int, int, int]
    flop: int | None
    base_mb: float
    resident_mb: float
    seconds: list[float] = field(default_factory=list)
    peaks: dict[str | None, list[float]] = field(default_factory=dict)


def run_rounds(
    jobs: Sequence[Job],
    channels: dict[Job, int],
    shape: Shape,
    rounds: int,
    threads: int,
    refused: Refused,
    qualities: dict[Job, dict[str, Any]],
    show: Show,
) -> list[Timing]:
    """Time jobs at a shape.

    All are open at once, each in its process, as far as memory goes; those that do not fit follow
    as a group of their own, beside the same matrix products.

    Args:
        jobs: What to time.
        channels: Of the images of each.
        shape: Of the images.
        rounds: How often each is timed, after a warm-up.
        threads: How many compute.
        refused: What cannot be done here, and why; added to, and left out.
        qualities: What each purifier's output is worth; measured where it is missing.
        show: Progress.
    """
    found: list[Timing] = []
    waiting = [job for job in jobs if job not in refused]
    while waiting:
        with ExitStack() as opened:
            workers: list[Worker] = []
            group = [product for product in PRODUCTS if product not in refused]
            largest = 0.0
            while group or waiting:
                # A first one always; then as long as there is room for the largest twice over.
                alone = all(worker.job in PRODUCTS for worker in workers)
                if not group and not alone and _free_mb() < 2 * largest:
                    break
                job = (group or waiting).pop(0)
                show(_title(job, shape), job.kind != "product")
                try:
                    worker = Worker(job, channels.get(job, 1), shape, threads)
                except EngineError as error:
                    refused[job] = str(error), None if job in PRODUCTS else shape
                    show(_title(job, shape), rounds * (job.kind != "product"))
                    continue
                workers.append(opened.enter_context(worker))
                largest = max(largest, worker.resident_mb)
            found += _time(workers, channels, shape, rounds, refused, qualities, show)
    return found


def _time(
    workers: list[Worker],
    channels: dict[Job, int],
    shape: Shape,
    rounds: int,
    refused: Refused,
    qualities: dict[Job, dict[str, Any]],
    show: Show,
) -> list[Timing]:
    """Time what is open; the products' speeds stand beside all others'."""
    timings = {}
    for worker in workers:
        job, count = worker.job, channels.get(worker.job, 1)
        flop, size = job_flop(job, count, shape), (shape[0], count, *shape[1:])
        timings[job] = Timing(job, size, flop, worker.base_mb, worker.resident_mb)
    for turn in range(rounds):
        for worker in workers:
            job = worker.job
            show(_title(job, shape), job.kind != "product")
            if job in refused or turn >= max(FEWEST_ROUNDS, JOB_SECONDS // worker.estimate):
                continue
            try:
                seconds = worker.time(max(1, round(TURN_SECONDS / worker.estimate)))
            except EngineError as error:
                refused[job] = str(error), shape
                continue
            timings[job].seconds.append(seconds)
            timings[job].resident_mb = worker.resident_mb
    for worker in workers:
        job = worker.job
        if job.kind == "purifier" and job not in refused and job not in qualities:
            try:
                qualities[job] = worker.quality()
            except EngineError as error:
                refused[job] = str(error), shape
    done = [timing for job, timing in timings.items() if job not in refused]
    peaks: dict[str | None, list[float]] = {
        timing.job.precision: [timing.flop / s / 1e9 for s in timing.seconds]
        for timing in done
        if timing.job.kind == "product" and timing.flop is not None
    }
    for timing in done:
        timing.peaks = peaks
    return done


def _title(job: Job, shape: Shape) -> str:
    count, height, width = shape
    what = " ".join(part for part in (job.name, job.engine, job.precision) if part)
    return what if job.kind == "product" else f"{what}, {count} of {height}x{width}"


def _free_mb() -> float:
    """Return the memory that is there for more processes; unlimited where nobody says."""
    try:
        text = Path("/proc/meminfo").read_text()
        return int(text.partition("MemAvailable:")[2].split()[0]) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        return float("inf")
