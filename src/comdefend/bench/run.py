"""The benchmark: one run, one record, one table, two figures."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from comdefend import zoo
from comdefend.bench.jobs import (
    BASELINE,
    CLASSIFIERS,
    LARGE,
    PHOTO,
    PHOTOGRAPHS,
    SHAPES,
    SWEEP,
    TRANSFORMS,
    WEIGHTS,
    Job,
    Shape,
    check_arguments,
    purifier_jobs,
    quick_jobs,
)
from comdefend.bench.messages import Quality
from comdefend.bench.ratios import ratios
from comdefend.bench.record import LeftOut, Peak, Record, Row, fastest
from comdefend.bench.rounds import Rounds, Timing
from comdefend.bench.tables import markdown_table
from comdefend.common.atomic import atomic_write, make_folder
from comdefend.common.extras import require_extra
from comdefend.common.json_files import save_json
from comdefend.common.processor import this_machine

QUICK_ROUNDS = 3

Progress = Callable[[str, int, int], None]
"""Told what is being done, the turns that are over, and all turns."""


def run_bench(
    output: Path,
    weights: Sequence[str] = (),
    shapes: Sequence[Shape] = (),
    rounds: int = 7,
    threads: int | None = None,
    progress: Progress = lambda label, done, total: None,
    quick: bool = False,
) -> Record:
    """Time purifiers by every engine, and beside them what a user would take instead.

    Nothing is written before everything is measured.

    Args:
        output: Folder for ``bench.json``, ``bench.md`` and the figures.
        weights: Purifiers, as `comdefend.load` names them; by default `WEIGHTS`.
        shapes: N, H and W of the batches; by default `SHAPES` and `LARGE`, and `SWEEP` for the
            figures.
        rounds: How often each is timed, after a warm-up.
        threads: How many compute; by default as many as torch uses.
        progress: Called before every turn.
        quick: Time only what ``auto`` takes, one image of 224x224, `QUICK_ROUNDS` times.

    Raises:
        InputError: Unknown weights, an output that is a file, or no round or thread.
        ExtraMissingError: A package of the extra ``evaluate`` is not installed.
        OutputError: The folder cannot be written to.
        DataMissingError, WeightsError: As for `comdefend.load`.
    """
    check_arguments(output, rounds, threads)
    require_extra("evaluate")
    from comdefend.bench.figures import FIGURES

    channels = _channels(weights)
    new = not output.exists()
    make_folder(output)
    try:
        record = _measure(
            channels,
            [PHOTO] if quick else list(dict.fromkeys(shapes)),
            QUICK_ROUNDS if quick else rounds,
            torch.get_num_threads() if threads is None else threads,
            progress,
            quick,
        )
        for name, draw in FIGURES.items():
            atomic_write(output / f"{name}.svg", draw(record).svg.encode())
        atomic_write(output / "bench.md", markdown_table(record).encode())
        save_json(record, output / "bench.json")
    finally:
        if new:
            # A run that was stopped leaves no empty folder behind.
            with suppress(OSError):
                output.rmdir()
    return record


def _channels(weights: Sequence[str]) -> dict[str, int]:
    """Return the channels of each purifier's images."""
    return {name: zoo.load_arrays(name).config.channels for name in weights or WEIGHTS}


def _measure(
    weights: dict[str, int],
    shapes: list[Shape],
    rounds: int,
    threads: int,
    progress: Progress,
    quick: bool,
) -> Record:
    most = max(weights.values())
    jobs = [*purifier_jobs(list(weights)), *TRANSFORMS]
    channels = {job: weights.get(job.name, most) for job in jobs}
    channels |= dict.fromkeys((*CLASSIFIERS, *PHOTOGRAPHS), 3)
    others = {PHOTO: [*jobs, *CLASSIFIERS], LARGE: list(PHOTOGRAPHS)} if most == 3 else {}
    plan = [(shape, others.get(shape, jobs)) for shape in shapes or (*SHAPES, LARGE)]
    if quick:
        plan = [(PHOTO, [job for job in quick_jobs(list(weights)) if job in channels])]
    done, total = 0, sum(len(jobs) for _, jobs in plan) * (1 + rounds)

    def show(label: str, turns: int) -> None:
        nonlocal done
        progress(label, done, max(done, total))
        done += turns

    session = Rounds(channels, rounds, threads, show)

    def run(jobs: Sequence[Job], shape: Shape) -> list[Timing]:
        show("", sum(job in session.refused for job in jobs) * (1 + rounds))
        return session.time(jobs, shape)

    timings = [timing for shape, jobs in plan for timing in run(jobs, shape)]
    rows = _rows(timings, session)
    swept: list[Timing] = []
    if not shapes:
        chosen = _swept(jobs, rows)
        total = done + len(SWEEP) * len(chosen) * (1 + rounds)
        swept = [timing for shape in SWEEP for timing in run(chosen, shape)]
    progress("", total, total)
    timings += swept
    return Record(
        **this_machine("openvino", "onnxruntime", "scikit-image"),
        threads=threads,
        rounds=rounds,
        torch_mb=round(statistics.median(timing.base_mb for timing in timings)),
        peaks=_peaks(timings),
        rows=rows,
        sweep=_rows(swept, session),
        ratios=tuple(ratios(rows)),
        left_out=_left_out(session),
    )


def _swept(jobs: Sequence[Job], rows: Sequence[Row]) -> list[Job]:
    """Return the purifiers' jobs for the figures: the baseline, and each purifier's fastest."""
    chosen = set()
    for job in jobs:
        if best := fastest(rows, kind="purifier", weights=job.name, size=PHOTO):
            chosen |= {(job.name, *BASELINE), (job.name, best.engine, best.precision)}
    return [job for job in jobs if (job.name, job.engine, job.precision) in chosen]


def _rows(timings: Sequence[Timing], session: Rounds) -> tuple[Row, ...]:
    return tuple(
        _row(timing, session.threads, session.qualities.get(timing.job))
        for timing in timings
        if timing.job.kind != "product"
    )


def _row(timing: Timing, threads: int, quality: Quality | None) -> Row:
    job, seconds, speeds = timing.job, timing.seconds, timing.gflops
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    # Round by round: a busy moment slows both. Slow jobs sit out the last rounds.
    shares = [a / b for a, b in zip(speeds, timing.peaks.get(job.precision, []), strict=False)]
    return Row(
        kind=job.kind,
        weights=job.name,
        engine=job.engine,
        precision=job.precision,
        shape=timing.shape,
        threads=threads,
        seconds=middle,
        seconds_quartiles=(low, high),
        seconds_rounds=tuple(seconds),
        images_per_second=timing.shape[0] / middle,
        gflop=None if timing.flop is None else timing.flop / 1e9,
        gflops=statistics.median(speeds) if speeds else None,
        share_of_peak=statistics.median(shares) if shares else None,
        resident_mb=round(timing.resident_mb),
        psnr_to_float32=quality.psnr_to_float32 if quality else None,
        flipped_bits=quality.flipped_bits if quality else None,
        psnr_to_images=quality.psnr_to_images if quality else None,
    )


def _peaks(timings: Sequence[Timing]) -> tuple[Peak, ...]:
    """Return the speed of a matrix product in each precision, over all rounds of all shapes."""
    speeds: dict[str, list[float]] = {}
    for timing in timings:
        if timing.job.kind == "product":
            speeds.setdefault(str(timing.job.precision), []).extend(timing.gflops)
    return tuple(Peak(precision, statistics.median(all_)) for precision, all_ in speeds.items())


def _left_out(session: Rounds) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(
            weights=job.name,
            engine=job.engine,
            precision=job.precision,
            shape=shape and (shape[0], session.channels[job], *shape[1:]),
            reason=reason,
        )
        for job, (reason, shape) in session.refused.items()
    )
