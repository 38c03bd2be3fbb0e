import io
import os
import signal

import msgspec
import pytest
import torch

from comdefend.bench import worker
from comdefend.bench.jobs import CLASSIFIERS, PHOTOGRAPHS, Job, job_title
from comdefend.bench.messages import Judge, Open, Opened, Quality, Refused, Run, Timed
from comdefend.bench.process import Worker
from comdefend.errors import EngineError


def answers(job, *requests, kinds=(Opened,), channels=3, shape=(1, 8, 8)):
    """What a worker answers, in this process."""
    first = Open(job, channels, shape, torch.get_num_threads())
    lines = [msgspec.json.encode(request) + b"\n" for request in (first, *requests)]
    out = io.BytesIO()
    worker.serve(io.BytesIO(b"".join(lines)), out)
    return [
        msgspec.json.decode(line, type=kind)
        for line, kind in zip(out.getvalue().splitlines(), kinds, strict=True)
    ]


def test_a_worker_times_and_judges_an_engine(tiny, monkeypatch):
    monkeypatch.setitem(worker.JUDGED, 3, (1, 16, 16))
    job = Job("purifier", tiny, "torch", "float32")
    opened, timed, quality = answers(job, Run(3), Judge(), kinds=(Opened, Timed, Quality))
    assert opened.seconds > 0
    assert opened.resident_mb > 100
    assert timed.seconds > 0
    assert quality.psnr_to_float32 is None or quality.psnr_to_float32 > 60
    assert quality.flipped_bits < 0.01
    assert 0 < quality.psnr_to_images < 60


@pytest.mark.parametrize("name", ["jpeg:75", "median:3", "tv:0.1", "nl-means"])
def test_a_worker_times_other_defences(name):
    job = Job("transform", name, "any", None)
    opened, timed = answers(job, Run(2), kinds=(Opened, Timed))
    assert opened.seconds > 0
    assert timed.seconds > 0


@pytest.mark.parametrize("job", PHOTOGRAPHS, ids=lambda job: job_title(job.kind, job.name))
def test_a_worker_times_what_becomes_of_a_photograph(job):
    opened, timed = answers(job, Run(1), kinds=(Opened, Timed), shape=(1, 40, 48))
    assert opened.seconds > 0
    assert timed.seconds > 0


def test_a_worker_times_classifiers():
    (opened,) = answers(CLASSIFIERS[0], shape=(1, 64, 64))
    assert opened.seconds > 0


def test_a_worker_says_what_it_cannot_do(tiny):
    (refused,) = answers(Job("purifier", tiny, "torch", "float8"), kinds=(Refused,))
    assert "float8" in refused.reason
    (refused,) = answers(Job("purifier", tiny, "tpu", "float32"), kinds=(Refused,))
    assert refused.reason.startswith("unknown engine 'tpu'")


def test_a_process_that_dies_is_an_error_and_not_the_end(tiny):
    job = Job("purifier", tiny, "torch", "float32")
    with Worker(job, 3, (1, 8, 8), threads=1) as process:
        assert process.time(2) > 0
        assert process.resident_mb > 100
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="killed by signal 9"):
            process.time(1)
