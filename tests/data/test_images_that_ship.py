"""The images that ship, and crops of them."""

import pytest
import torch

from comdefend.data.shipped import fashion_images, image_crops, labelled_photographs


def test_fashion_images():
    images, labels = fashion_images()
    assert images.shape == (200, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.bincount().tolist() == [20] * 10


def test_photographs_have_names_of_imagenet():
    photographs = labelled_photographs(16)
    assert photographs.images.shape == (6, 3, 16, 16)
    assert photographs.images.dtype == torch.uint8
    assert len(photographs.classes) == 1000
    assert [photographs.classes[accepted[0]] for accepted in photographs.accepted] == [
        "tabby", "espresso", "missile", "moped", "tripod", "space shuttle",
    ]  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 700, 20)])
def test_crops_have_any_shape(channels, shape):
    crops = image_crops(channels, *shape)
    count, height, width = shape
    assert crops.shape == (count, channels, height, width)
    assert crops.dtype == torch.uint8


def test_crops_are_of_real_images_and_differ():
    images, _ = fashion_images()
    crops = image_crops(1, 401, 28, 28)
    assert crops[:200].equal(images)
    photographs = image_crops(3, 5, 40, 40)
    # The fifth is of the first photograph again, but of another place.
    assert len({image.numpy().tobytes() for image in photographs}) == 5
    assert photographs[0, :, 37:, 37:].equal(photographs[4, :, :3, :3])


def test_small_images_are_continued_by_their_mirror_image():
    images, _ = fashion_images()
    wide = image_crops(1, 1, 28, 56)[0, 0]
    assert wide[:, :28].equal(images[0, 0])
    assert wide[:, 28:].equal(images[0, 0].flip(1))
