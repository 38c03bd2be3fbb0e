"""The benchmark: one run, one record, one table, two figures."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from comdefend.bench.figures import FIGURES
from comdefend.bench.jobs import (
    BASELINE,
    CLASSIFIERS,
    PHOTO,
    SHAPES,
    SWEEP,
    TRANSFORMS,
    Job,
    Shape,
    purifier_jobs,
)
from comdefend.bench.ratios import fastest, ratios
from comdefend.bench.rounds import Refused, Timing, run_rounds
from comdefend.bench.tables import markdown_table
from comdefend.common.atomic import atomic_write, make_folder
from comdefend.common.extras import require
from comdefend.common.processor import description
from comdefend.common.provenance import commit
from comdefend.errors import InputError
from comdefend.evaluation import record as records
from comdefend.weights import zoo

Progress = Callable[[str, int, int], None]
"""Told what is being done, the turns that are over, and all turns."""


def run_bench(
    output: Path,
    weights: Sequence[str] = (),
    shapes: Sequence[Shape] = (),
    rounds: int = 7,
    threads: int | None = None,
    progress: Progress = lambda label, done, total: None,
) -> dict[str, Any]:
    """Time purifiers by every engine, and beside them what a user would take instead.

    Nothing is written before everything is measured.

    Args:
        output: Folder for ``bench.json``, ``bench.md`` and the figures.
        weights: Purifiers, as `comdefend.load` names them; by default all shipped ones for RGB.
        shapes: N, H and W of the batches; by default `SHAPES`, and `SWEEP` for the figures.
        rounds: How often each is timed, after a warm-up.
        threads: How many compute; by default as many as torch uses.
        progress: Called before every turn.

    Returns:
        The record.

    Raises:
        InputError: Unknown weights, an output that is a file, or no round or thread.
        ExtraMissingError: matplotlib or scikit-image is not installed.
        OutputError: The folder cannot be written to.
        DataMissingError, WeightsError: As for `comdefend.load`.
    """
    for name, value in (("rounds", rounds), ("threads", 1 if threads is None else threads)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: a file; the output is a folder")
    for module in ("matplotlib", "skimage"):
        require(module, "evaluate")
    channels = _channels(weights)
    new = not output.exists()
    make_folder(output)
    try:
        record = _measure(
            channels, list(dict.fromkeys(shapes)), rounds,
            torch.get_num_threads() if threads is None else threads, progress,
        )  # fmt: skip
        for name, draw in FIGURES.items():
            atomic_write(output / f"{name}.svg", draw(record).encode())
        atomic_write(output / "bench.md", markdown_table(record).encode())
        records.save_record(record, output / "bench.json")
    finally:
        if new:
            # A run that was stopped leaves nothing; a folder with something in it remains.
            with suppress(OSError):
                output.rmdir()
    return record


def _channels(weights: Sequence[str]) -> dict[str, int]:
    """Return the channels of each purifier's images; that they open is checked by the way."""
    found = {name: zoo.load(name).config.channels for name in weights or zoo.weights()}
    return found if weights else {name: c for name, c in found.items() if c == 3}


def _measure(
    weights: dict[str, int], shapes: list[Shape], rounds: int, threads: int, progress: Progress
) -> dict[str, Any]:
    most = max(weights.values())
    jobs = [*purifier_jobs(list(weights)), *TRANSFORMS]
    channels = {job: weights.get(job.name, most) for job in jobs} | dict.fromkeys(CLASSIFIERS, 3)
    refused: Refused = {}
    qualities: dict[Job, dict[str, Any]] = {}
    timings: list[Timing] = []
    plan = [
        (shape, [*jobs, *CLASSIFIERS] if shape == PHOTO and most == 3 else jobs)
        for shape in shapes or SHAPES
    ]
    done, total = 0, sum(len(listed) for _, listed in plan) * (1 + rounds)

    def show(label: str, turns: int) -> None:
        nonlocal done
        progress(label, done, max(done, total))
        done += turns

    def run(shape: Shape, listed: Sequence[Job]) -> list[Timing]:
        nonlocal done
        done += sum(job in refused for job in listed) * (1 + rounds)
        return run_rounds(listed, channels, shape, rounds, threads, refused, qualities, show)

    for shape, listed in plan:
        timings += run(shape, listed)
    rows = [_row(timing, threads, qualities) for timing in timings if timing.job.kind != "product"]
    sweep: list[dict[str, Any]] = []
    if not shapes:
        chosen = {
            (row["weights"], *choice)
            for name in weights
            if (row := fastest(rows, name, PHOTO))
            for choice in (BASELINE, (row["engine"], row["precision"]))
        }
        swept = [job for job in jobs if (job.name, job.engine, job.precision) in chosen]
        total = done + len(SWEEP) * len(swept) * (1 + rounds)
        for shape in SWEEP:
            timings += (found := run(shape, swept))
            sweep += [_row(t, threads, qualities) for t in found if t.job.kind != "product"]
    progress("", total, total)
    return {
        "commit": commit(),
        "versions": records.versions() | _engine_versions(),
        **description(),
        "threads": threads,
        "rounds": rounds,
        "torch_mb": round(statistics.median(timing.base_mb for timing in timings)),
        "peaks": _peaks(timings),
        "rows": rows,
        "sweep": sweep,
        "ratios": ratios(rows),
        "left_out": [
            {
                "weights": job.name,
                "engine": job.engine,
                "precision": job.precision,
                "shape": [shape[0], channels.get(job), *shape[1:]] if shape else None,
                "reason": reason,
            }
            for job, (reason, shape) in refused.items()
        ],
    }


def _row(timing: Timing, threads: int, qualities: dict[Job, dict[str, Any]]) -> dict[str, Any]:
    job, seconds = timing.job, timing.seconds
    low, middle, high = (
        statistics.quantiles(seconds * 2, n=4)
        if len(seconds) == 1
        else (statistics.quantiles(seconds, n=4, method="inclusive"))
    )
    speeds = [timing.flop / s / 1e9 for s in seconds] if timing.flop is not None else []
    # Round by round: a busy moment slows both. Slow jobs sit out the last rounds.
    shares = [a / b for a, b in zip(speeds, timing.peaks.get(job.precision, []), strict=False)]
    none = dict.fromkeys(("psnr_to_float32", "flipped_bits", "psnr_to_images"))
    return {
        "kind": job.kind,
        "weights": job.name,
        "engine": job.engine,
        "precision": job.precision,
        "shape": list(timing.shape),
        "threads": threads,
        "seconds": middle,
        "seconds_quartiles": [low, high],
        "seconds_rounds": seconds,
        "images_per_second": timing.shape[0] / middle,
        "gflop": None if timing.flop is None else timing.flop / 1e9,
        "gflops": statistics.median(speeds) if speeds else None,
        "share_of_peak": statistics.median(shares) if shares else None,
        "resident_mb": round(timing.resident_mb),
        **qualities.get(job, none),
    }


def _peaks(timings: list[Timing]) -> list[dict[str, Any]]:
    """Return the speed of a matrix product in each precision, over all rounds of all shapes."""
    found: dict[str, list[float]] = {}
    for timing in timings:
        if timing.job.kind == "product" and timing.flop is not None:
            speeds = found.setdefault(str(timing.job.precision), [])
            speeds += [timing.flop / s / 1e9 for s in timing.seconds]
    return [
        {"precision": precision, "gflops": statistics.median(speeds)}
        for precision, speeds in found.items()
    ]


def _engine_versions() -> dict[str, str]:
    found = {}
    for name in ("openvino", "onnxruntime", "scikit-image"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
