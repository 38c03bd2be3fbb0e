"""A process that holds one job, and runs it when asked: ``python -m comdefend.bench.worker``.

Reads requests and writes answers, one line of JSON each; ends when its input ends.
"""

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch

from comdefend import zoo
from comdefend.bench.jobs import Job, Shape
from comdefend.bench.messages import Open, Opened, Quality, Refused, Request, Run, Timed
from comdefend.bench.opened import open_job
from comdefend.data.shipped import image_crops
from comdefend.engines import measure_agreement, open_engine
from comdefend.nn.metrics import pooled_psnr

JUDGED: dict[int, Shape] = {1: (64, 28, 28), 3: (4, 224, 224)}
"""Channels -> the shape of the images on which engines are compared with float32 torch."""

# A first call allocates, compiles and fills caches. Where it is short, a second one tells more.
_SHORT = 2.0


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are none."""
    for answer in _answers(requests):
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


@torch.inference_mode()
def _answers(requests: BinaryIO) -> Iterator[Opened | Refused | Timed | Quality]:
    first = msgspec.json.decode(requests.readline(), type=Open)
    torch.set_num_threads(first.threads)
    base_mb = _peak()
    # A library may raise anything where something is missing; the other jobs go on without it.
    try:
        run = open_job(first.job, first.channels, first.shape, first.threads)
        _reset_peak()
        seconds = _timed(run, 1)
        if seconds < _SHORT:
            seconds = _timed(run, 1)
    except Exception as error:
        yield Refused(" ".join(str(error).split())[:300] or type(error).__name__)
        return
    yield Opened(seconds, base_mb, _peak())
    for line in requests:
        request = msgspec.json.decode(line, type=Request)
        if isinstance(request, Run):
            yield Timed(_timed(run, request.calls), _peak())
        else:
            yield _quality(first.job, first.channels, first.threads)


def _timed(run: Callable[[], Any], calls: int) -> float:
    """Return the mean seconds of a call."""
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - started) / calls


def _quality(job: Job, channels: int, threads: int) -> Quality:
    """Compare an engine with float32 torch, and its output with its input."""
    images = image_crops(channels, *JUDGED[channels]).float() / 255
    purifier = zoo.load(job.name)
    engine = open_engine(purifier, job.engine, str(job.precision), threads)
    agreement = measure_agreement(engine, purifier, images)
    return Quality(
        psnr_to_float32=agreement.psnr if agreement.psnr < float("inf") else None,
        flipped_bits=agreement.flipped,
        psnr_to_images=pooled_psnr(engine(images), images),
    )


def _reset_peak() -> None:
    """Forget the memory that opening took, where the system allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> float:
    """Return the peak of the resident memory, in MB of 10^6 bytes."""
    # getrusage is the fallback: it includes what the parent held at the fork.
    try:
        status = Path("/proc/self/status").read_text()
        kilobytes = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return kilobytes * 1024 / 1e6


if __name__ == "__main__":
    # Whatever libraries print goes to standard error, not between the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)
