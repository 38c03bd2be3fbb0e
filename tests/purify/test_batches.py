import math

import pytest
import torch

from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

CONFIG = PurifierConfig(encoder_widths=(6,), decoder_widths=(6,), code_maps=4)


class Counting:
    """A purifier that notes the shape of each batch, and has memory for so many images."""

    def __init__(self, most=1000):
        torch.manual_seed(0)
        self.config, self.device = CONFIG, torch.device("cpu")
        self.inner, self.shapes, self.most = ComDefend(CONFIG).double().eval(), [], most

    def __call__(self, images):
        self.shapes.append(tuple(images.shape))
        if len(images) > self.most or images.max() == 1:
            raise MemoryError
        return self.inner(images.double())


def random_images(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 255, (1, 3, *s), dtype=torch.uint8, generator=generator) for s in shapes
    ]


def differ(images, others):
    return max((a.int() - b.int()).abs().max() for a, b in zip(images, others, strict=True))


def test_small_images_go_in_full_batches_and_change_nothing(purify_images, purify_alone):
    images = random_images(*[(9, 7), (9, 7), (7, 9)] * 30)
    purifier = Counting()
    # (20 + 2 * 4)^2 pixels at once: 12 images of 63.
    together, done = purify_images(purifier, images, tile=20)
    assert all(done)
    assert sorted(purifier.shapes)[:1] + sorted(purifier.shapes)[-1:] == [
        (6, 3, 7, 9), (12, 3, 9, 7),
    ]  # fmt: skip
    assert len(purifier.shapes) == 5 + 3
    assert differ(together, [purify_alone(purifier, image) for image in images]) <= 1


def test_parts_of_large_images_go_together(purify_images, purify_alone):
    images = random_images(*[(70, 45)] * 4)
    purifier = Counting()
    together, _ = purify_images(purifier, images, tile=30)
    assert max(count for count, *_ in purifier.shapes) == 4
    assert max(count * h * w for count, _, h, w in purifier.shapes) <= (30 + 2 * 4) ** 2
    assert differ(together, [purify_alone(purifier, image) for image in images]) <= 1


def test_a_batch_too_large_for_memory_is_computed_image_by_image(purify_images):
    images = random_images(*[(8, 8)] * 5)
    together, done = purify_images(Counting(most=1), images, tile=20)
    assert all(done)
    assert not any(torch.equal(*pair) for pair in zip(together, images, strict=True))


def test_an_image_too_large_for_memory_fails_alone(purify_images):
    images = random_images(*[(8, 8)] * 5, (50, 50))
    images[2][..., 0, 0] = 255
    images[5][..., 0, 0] = 255
    _, done = purify_images(Counting(), images, tile=20)
    assert done == [True, True, False, True, True, False]


class Short(Counting):
    """A purifier that has memory for so many pixels, and says so as torch does on a processor."""

    def __call__(self, images):
        if images.shape[-2] * images.shape[-1] > self.most:
            torch.empty(1 << 50)
        return self.inner(images.double())


def test_tiles_too_large_for_memory_are_computed_in_smaller_ones(purify_images, purify_alone):
    images = random_images((150, 90), (40, 40), (31, 170))
    pieces, done = purify_images(Short(3000), images, tile=100)
    assert all(done)
    assert differ(pieces, [purify_alone(Counting(), image) for image in images]) <= 1


def test_too_little_memory_for_the_smallest_tile_fails_one_image(purify_images):
    _, done = purify_images(Short(300), random_images((50, 50), (15, 15)), tile=60)
    assert done == [False, True]


class NotFinite(Counting):
    def __call__(self, images):
        purified = self.inner(images.double())
        # One value of the images that have a white corner.
        purified[images[:, 0, 0, 0] == 1, 0, 3, 3] = self.most
        return purified


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_result_that_is_not_finite_fails_its_image(purify_images, value):
    images = random_images(*[(8, 8)] * 3)
    images[1][..., 0, 0] = 255
    _, done = purify_images(NotFinite(value), images, tile=20)
    assert done == [True, False, True]
