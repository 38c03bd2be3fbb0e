import pytest
import torch
from msgspec.structs import replace

from comdefend.training.batches import (
    EpochSampler,
    augment,
    epoch_loader,
    noisy_images,
    step_generator,
)


def test_an_epoch_has_every_image_once_in_a_new_order():
    epoch = [0]
    sampler = EpochSampler(10, 3, seed=0, epoch=lambda: epoch[0])
    first = list(sampler)
    assert len(first) == len(sampler) == 3
    assert len({i for batch in first for i in batch}) == 9
    epoch[0] = 1
    assert list(sampler) != first
    epoch[0] = 0
    assert list(sampler) == first


def test_an_epoch_loader_gives_images_with_their_labels(recipes, images):
    (pixels, labels), *_ = epoch_loader(images, replace(recipes["classifier"], batch=8), lambda: 0)
    for image, label in zip(pixels, labels, strict=True):
        same = (images.images == image).flatten(1).all(1)
        assert label in images.labels[same]


def test_noise_on_images_is_clamped_and_of_the_deviations_asked_for():
    images = torch.full((400, 1, 20, 20), 0.5)
    noisy = noisy_images(images, (0.01, 0.1), step_generator(0, "image noise", 0))
    deviations = (noisy - 0.5).flatten(1).std(1)
    small, large = deviations < 0.03, deviations > 0.03
    assert 150 < small.sum() < 250
    assert deviations[small].mean().item() == pytest.approx(0.01, rel=0.02)
    assert deviations[large].mean().item() == pytest.approx(0.1, rel=0.02)
    wild = noisy_images(images, (1.0,), step_generator(0, "image noise", 0))
    assert (wild.min(), wild.max()) == (0, 1)


def test_processes_that_share_a_batch_share_its_noise():
    images = torch.rand(6, 1, 4, 4)
    whole = noisy_images(images, (0.1, 0.5), step_generator(0, "image noise", 3))
    parts = [
        noisy_images(part, (0.1, 0.5), step_generator(0, "image noise", 3), (rank, 2))
        for rank, part in enumerate(images.chunk(2))
    ]
    assert torch.cat(parts).equal(whole)


def test_generators_of_steps_differ():
    generators = [
        step_generator(seed, purpose, step)
        for seed in (0, 1)
        for purpose in ("crops", "noise")
        for step in range(9)
    ]
    assert len({torch.rand(1, generator=g).item() for g in generators}) == 36


@pytest.fixture
def views():
    images = torch.rand(64, 1, 12, 12, generator=torch.Generator().manual_seed(1))

    def changed(translate=0, flip=False, cutout=0):
        return images, augment(images, torch.Generator().manual_seed(0), translate, flip, cutout)

    return changed


def test_augmentation_mirrors_half_of_the_images(views):
    images, same = views()
    assert same.equal(images)
    images, flipped = views(flip=True)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert 16 < mirrored.sum() < 48
    assert (flipped == images).flatten(1).all(1).equal(~mirrored)


def test_augmentation_blanks_a_square_and_shifts(views):
    _, cut = views(cutout=4)
    assert ((cut == 0.5).flatten(1).sum(1) == 16).all()
    images, shifted = views(translate=2)
    assert shifted.shape == images.shape
    # The middle of a view is somewhere in its image, at most two pixels away.
    for image, view in zip(images[:8], shifted[:8], strict=True):
        places = image[0].unfold(0, 8, 1).unfold(1, 8, 1)
        assert (places == view[0, 2:10, 2:10]).all(-1).all(-1).any()
