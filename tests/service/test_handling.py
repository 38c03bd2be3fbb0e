"""Requests within one process: how long they wait, and what they hold meanwhile."""

import asyncio

import pytest
from PIL import Image

from comdefend.service.admission import Admission
from comdefend.service.batcher import Batcher
from comdefend.service.handling import Handling
from comdefend.service.metrics import Metrics
from comdefend.service.refusals import RequestError
from comdefend.service.settings import Settings


class Parts:
    """What a server is made of, without the server."""

    def __init__(self, gate, **settings):
        self.settings, metrics = Settings(**settings), Metrics()
        self.admission = Admission(self.settings, metrics)
        self.batcher = Batcher(gate, metrics)
        self.handling = Handling(self.settings, self.admission, self.batcher, 3)

    async def free(self):
        """Return whether all that was held is free again, after a while."""
        for _ in range(300):
            if (self.admission._images, self.admission._pixels) == (0, 0):
                return True
            await asyncio.sleep(0.02)
        return False


@pytest.fixture
def parts(gate):
    made = []

    def make(**settings):
        made.append(Parts(gate, **settings))
        return made[-1]

    yield make
    gate.open.set()
    for each in made:
        each.handling.close()
        each.batcher.stop()


@pytest.fixture
def body(encoded):
    return encoded(Image.effect_noise((10, 8), 50).convert("RGB"))


async def outcome(coroutine):
    try:
        await coroutine
        return 200, ""
    except RequestError as error:
        return error.status, error.message


def test_what_takes_too_long_is_given_up_and_frees_its_place(gate, parts, body):
    made = parts(seconds=0.5)

    async def run():
        first = asyncio.create_task(outcome(made.handling.purify(body, "png")))
        while not gate.entered.is_set():
            await asyncio.sleep(0.01)
        second = asyncio.create_task(outcome(made.handling.purify(body, "png")))
        results = await first, await second
        # What is being computed is still in memory; what only waited is not.
        await asyncio.sleep(0.1)
        held = made.admission._images
        gate.open.set()
        return results, held, await made.free()

    (first, second), held, free = asyncio.run(run())
    assert first == (504, "computing it takes longer than 0.5 s")
    assert second[0] == 503
    assert "its turn did not come within 0.5 s" in second[1]
    assert held == 1
    assert free
    # The second one was never computed.
    assert gate.sizes == [1]


def test_a_place_is_free_again_after_every_end(gate, parts, body):
    made = parts(queue=2)
    gate.open.set()
    bodies = [body, b"", b"no image", body[:60], body]

    async def run():
        results = [await outcome(made.handling.purify(each, "png")) for each in bodies]
        return [status for status, _ in results], await made.free()

    assert asyncio.run(run()) == ([200, 422, 422, 422, 200], True)


def test_images_and_pixels_are_limited_together(gate, parts, encoded):
    made = parts(queue=3, max_pixels=10_000)
    large, small = (encoded(Image.new("RGB", (side, side))) for side in (100, 8))

    async def run():
        waiting = [asyncio.create_task(outcome(made.handling.purify(large, "png")))]
        while not gate.entered.is_set():
            await asyncio.sleep(0.01)
        waiting.append(asyncio.create_task(outcome(made.handling.purify(small, "png"))))
        await asyncio.sleep(0.2)
        # Two of the largest would be 20,000 pixels.
        too_many_pixels = await outcome(made.handling.purify(large, "png"))
        waiting.append(asyncio.create_task(outcome(made.handling.purify(small, "png"))))
        await asyncio.sleep(0.2)
        too_many = await outcome(made.handling.purify(small, "png"))
        gate.open.set()
        return too_many_pixels, too_many, [await each for each in waiting], await made.free()

    too_many_pixels, too_many, rest, free = asyncio.run(run())
    assert too_many_pixels[0] == too_many[0] == 503
    assert "megapixels" in too_many_pixels[1]
    assert "busy with 3 images" in too_many[1]
    assert rest == [(200, "")] * 3
    assert free


def test_uploads_are_limited_together(parts):
    made = parts(max_bytes=1000)
    with made.admission.body() as first, made.admission.body() as second:
        first.add(4000)
        second.add(4000)
        with pytest.raises(RequestError, match="other uploads"):
            second.add(1)
    with made.admission.body() as third:
        third.add(8000)
