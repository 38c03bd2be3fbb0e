"""Batching by itself: what waits is computed together."""

import pytest
import torch
from PIL import Image
from prometheus_client import generate_latest

from comdefend.data.image import ImageCanvas, ReadImage
from comdefend.errors import EngineError
from comdefend.service.batcher import Batcher, Job
from comdefend.service.metrics import Metrics


@pytest.fixture
def batcher(gate):
    made = Batcher(gate, Metrics())
    yield made
    gate.open.set()
    made.stop()


def job(side=8):
    image = Image.effect_noise((side, side), 50).convert("RGB")
    return Job(canvas=ImageCanvas(ReadImage(image), 3))


def test_what_waits_is_computed_together(gate, batcher):
    first, others = job(), [job(8 + 2 * (n % 2)) for n in range(10)]
    batcher.submit(first)
    assert gate.entered.wait(30)
    for other in others:
        batcher.submit(other)
    gate.open.set()
    for done in (first, *others):
        assert done.result.result(30) is None
    assert gate.sizes[0] == 1
    assert sorted(gate.sizes[1:]) == [5, 5]


def test_an_image_does_not_depend_on_its_batch(gate, batcher):
    jobs = [job() for _ in range(4)]
    alone = [j.canvas.read(slice(0, 8), slice(0, 8)) for j in jobs]
    for each in jobs:
        batcher.submit(each)
    gate.open.set()
    for each, pixels in zip(jobs, alone, strict=True):
        each.result.result(30)
        expected = (gate.inner(torch.from_numpy(pixels).float() / 255) * 255).round()
        found = each.canvas.read(slice(0, 8), slice(0, 8))
        assert (torch.from_numpy(found) - expected).abs().max() <= 1


def test_what_nobody_waits_for_is_not_computed(gate, batcher):
    first, given_up = job(), job(10)
    batcher.submit(first)
    assert gate.entered.wait(30)
    batcher.submit(given_up)
    assert given_up.result.cancel()
    assert not first.result.cancel()
    gate.open.set()
    last = job()
    batcher.submit(last)
    last.result.result(30)
    assert gate.sizes == [1, 1]


def test_a_fault_of_the_engine_ends_one_round_alone(gate, batcher, caplog):
    gate.open.set()
    broken = job(13)
    batcher.submit(broken)
    with pytest.raises(EngineError):
        broken.result.result(30)
    assert "a fault" in caplog.text
    sound = job()
    batcher.submit(sound)
    assert sound.result.result(30) is None


def test_stopping_computes_what_was_submitted(gate):
    metrics = Metrics()
    batcher = Batcher(gate, metrics)
    jobs = [job() for _ in range(5)]
    for each in jobs:
        batcher.submit(each)
    gate.open.set()
    batcher.stop()
    assert all(each.result.done() for each in jobs)
    assert not batcher.alive
    assert "comdefend_batch_images_sum 5.0" in generate_latest(metrics.registry).decode()
