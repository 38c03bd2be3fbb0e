"""Timing jobs in turns, round after round, so that a busy moment slows all of them alike."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from comdefend.bench.flops import job_flop
from comdefend.bench.jobs import PRODUCTS, Job, Shape, check_job, job_title
from comdefend.bench.messages import Quality
from comdefend.bench.process import Worker
from comdefend.errors import EngineError, InputError

TURN_SECONDS = 0.3
"""A turn repeats the job until about this much time has passed."""

JOB_SECONDS, FEWEST_ROUNDS = 60.0, 3
"""A job that would take longer than this in all sits out the last rounds, but runs in so many."""


@dataclass
class Timing:
    """What was measured of a job at a shape.

    Attributes:
        job: What was timed.
        shape: (N, C, H, W).
        flop: Operations of a call; None where they are not counted.
        base_mb: Memory of its process with torch imported and nothing opened.
        resident_mb: The most memory that its process held while computing.
        seconds: Of a call, in each round.
        peaks: Precision -> GFLOP/s of a matrix product in each of the same rounds.
    """

    job: Job
    shape: tuple[int, int, int, int]
    flop: int | None
    base_mb: float
    resident_mb: float
    seconds: list[float] = field(default_factory=list)
    peaks: dict[str | None, list[float]] = field(default_factory=dict)

    @property
    def gflops(self) -> list[float]:
        """Speed in each round, in GFLOP/s; empty where operations are not counted."""
        return [self.flop / seconds / 1e9 for seconds in self.seconds] if self.flop else []


@dataclass
class Rounds:
    """Times groups of jobs, and remembers what failed and how good each output is.

    Attributes:
        channels: Of the images of each job.
        rounds: How often each job is timed, after a warm-up.
        threads: How many compute.
        show: Told what is being done, and how many turns that ends; a job takes ``1 + rounds``.
        refused: Job -> why it cannot be done here, and the shape at which that was seen; None for
            matrix products. Such jobs are not tried again.
        qualities: How good the output of each purifier is, once measured.
    """

    channels: dict[Job, int]
    rounds: int
    threads: int
    show: Callable[[str, int], None]
    refused: dict[Job, tuple[str, Shape | None]] = field(default_factory=dict)
    qualities: dict[Job, Quality] = field(default_factory=dict)

    def time(self, jobs: Sequence[Job], shape: Shape) -> list[Timing]:
        """Time jobs at a shape.

        All are open at once, each in its own process, as far as memory allows. Those that do not
        fit follow as another group, beside the same matrix products.
        """
        timings: list[Timing] = []
        waiting = [job for job in jobs if job not in self.refused]
        while waiting:
            with ExitStack() as stack:
                workers = self._open_group(waiting, shape, stack)
                timings += self._time_group(workers, shape)
        return timings

    def _open_group(self, waiting: list[Job], shape: Shape, stack: ExitStack) -> list[Worker]:
        """Open the matrix products, then jobs from the front of ``waiting`` while they fit."""
        workers: list[Worker] = []
        products = [product for product in PRODUCTS if product not in self.refused]
        largest = 0.0
        while products or waiting:
            # The first job always; then as long as there is room for the largest twice over.
            first = all(worker.job in PRODUCTS for worker in workers)
            if not products and not first and _free_mb() < 2 * largest:
                break
            job = (products or waiting).pop(0)
            self._show(job, shape, 1)
            try:
                check_job(job)
                worker = Worker(job, self.channels.get(job, 1), shape, self.threads)
            except (EngineError, InputError) as error:
                self.refused[job] = str(error), None if job in PRODUCTS else shape
                self._show(job, shape, self.rounds)
                continue
            workers.append(stack.enter_context(worker))
            largest = max(largest, worker.resident_mb)
        return workers

    def _time_group(self, workers: list[Worker], shape: Shape) -> list[Timing]:
        timings = {worker.job: self._timing(worker, shape) for worker in workers}
        for turn in range(self.rounds):
            for worker in workers:
                self._show(worker.job, shape, 1)
                self._take_turn(worker, shape, turn, timings[worker.job])
        for worker in workers:
            self._judge(worker, shape)
        done = [timing for job, timing in timings.items() if job not in self.refused]
        peaks = {t.job.precision: t.gflops for t in done if t.job.kind == "product"}
        for timing in done:
            timing.peaks = peaks
        return done

    def _timing(self, worker: Worker, shape: Shape) -> Timing:
        count, height, width = shape
        channels = self.channels.get(worker.job, 1)
        flop = job_flop(worker.job, channels, shape)
        size = (count, channels, height, width)
        return Timing(worker.job, size, flop, worker.base_mb, worker.resident_mb)

    def _take_turn(self, worker: Worker, shape: Shape, turn: int, timing: Timing) -> None:
        too_slow = turn >= max(FEWEST_ROUNDS, JOB_SECONDS // worker.estimate)
        if worker.job in self.refused or too_slow:
            return
        try:
            seconds = worker.time(max(1, round(TURN_SECONDS / worker.estimate)))
        except EngineError as error:
            self.refused[worker.job] = str(error), shape
            return
        timing.seconds.append(seconds)
        timing.resident_mb = worker.resident_mb

    def _judge(self, worker: Worker, shape: Shape) -> None:
        job = worker.job
        if job.kind != "purifier" or job in self.refused or job in self.qualities:
            return
        try:
            self.qualities[job] = worker.quality()
        except EngineError as error:
            self.refused[job] = str(error), shape

    def _show(self, job: Job, shape: Shape, turns: int) -> None:
        """Report progress; matrix products come with every group, and do not count."""
        count, height, width = shape
        title = job_title(job.kind, job.name)
        what = " ".join(part for part in (title, job.engine, job.precision) if part)
        if job.kind == "product":
            self.show(what, 0)
        else:
            self.show(f"{what}, {count} of {height}x{width}", turns)


def _free_mb() -> float:
    """Return the memory that is free for more processes, in MB; infinite where it is unknown."""
    try:
        text = Path("/proc/meminfo").read_text()
        return int(text.partition("MemAvailable:")[2].split()[0]) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        return float("inf")
