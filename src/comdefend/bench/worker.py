"""A process that has one job, and does it when asked: ``python -m comdefend.bench.worker``.

Requests come in and answers go out as lines of JSON. The first request says what the job is; the
process ends with its input.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch

from comdefend.bench.jobs import Job
from comdefend.bench.opened import open_job
from comdefend.bench.pictures import JUDGED, pictures
from comdefend.engines import measure_agreement, open_engine
from comdefend.nn.metrics import pooled_psnr
from comdefend.weights import zoo

# A first call allocates, compiles and fills caches; where it was short, a second tells more.
_SHORT = 2.0


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are none."""
    for answer in _answers(requests):
        print(json.dumps(answer), file=answers, flush=True)


@torch.inference_mode()
def _answers(requests: TextIO) -> Iterator[dict[str, Any]]:
    first = json.loads(requests.readline())
    job, channels = Job(**first["job"]), first["channels"]
    torch.set_num_threads(first["threads"])
    base_mb = _peak()
    # Whatever a library raises that lacks something here: the others are timed without it.
    try:
        run = open_job(job, channels, first["shape"], first["threads"])
        _reset_peak()
        seconds = _timed(run, 1)
        if seconds < _SHORT:
            seconds = _timed(run, 1)
    except Exception as error:
        yield {"refused": " ".join(str(error).split())[:300] or type(error).__name__}
        return
    yield {"seconds": seconds, "base_mb": base_mb, "resident_mb": _peak()}
    for line in requests:
        request = json.loads(line)
        if "calls" in request:
            yield {"seconds": _timed(run, request["calls"]), "resident_mb": _peak()}
        else:
            yield _quality(job, channels, first["threads"])


def _timed(run: Callable[[], Any], calls: int) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - started) / calls


def _quality(job: Job, channels: int, threads: int) -> dict[str, Any]:
    """Compare the engine with float32 torch, and its images with those that went in."""
    images, purifier = pictures(channels, JUDGED[channels]), zoo.load(job.name)
    engine = open_engine(purifier, job.engine, str(job.precision), threads)
    found = measure_agreement(engine, purifier, images)
    return {
        "psnr_to_float32": found.psnr if found.psnr < float("inf") else None,
        "flipped_bits": found.flipped,
        "psnr_to_images": pooled_psnr(engine(images), images),
    }


def _reset_peak() -> None:
    """Forget what opening took, where the system lets us (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> float:
    """Return the most memory that was resident, in MB of 10^6 bytes."""
    # Not by getrusage where there is another way: it counts what the parent held at the fork.
    try:
        status = Path("/proc/self/status").read_text()
        kilobytes = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return kilobytes * 1024 / 1e6


if __name__ == "__main__":
    # Libraries that print must not come between the answers.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers)
