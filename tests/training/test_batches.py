import pytest
import torch
from msgspec.structs import replace

from comdefend.training.batches import (
    EpochSampler,
    StepSampler,
    TensorCrops,
    augment,
    epoch_loader,
    step_generator,
    step_loader,
)


def steps(first, share=(0, 1)):
    return list(StepSampler(9, 4, 3, 1000, seed=1, next_step=lambda: first, share=lambda: share))


def test_a_steps_batch_depends_on_its_number_alone():
    assert [batch[0][0] for batch in steps(7)] == [7, 8, 9]
    assert steps(7)[1:] == steps(8)[:2]
    assert steps(7)[0] != steps(8)[0]
    assert all(len(batch) == 4 for batch in steps(7))


def test_processes_divide_a_batch():
    shares = zip(steps(7, (0, 2)), steps(7, (1, 2)), strict=True)
    assert [a + b for a, b in shares] == steps(7)


def test_crops_reach_every_corner():
    images = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    crops = TensorCrops(images, 2)
    assert crops[0, 0, 0.0, 0.0].flatten().tolist() == [0, 1, 6, 7]
    assert crops[0, 0, 1.0, 1.0].flatten().tolist() == [28, 29, 34, 35]
    assert TensorCrops(images, 16)[0, 0, 0.5, 0.5].shape == (1, 6, 6)


def test_a_step_loader_gives_the_crops_of_an_epoch(recipes, images):
    recipe = replace(recipes["purifier"], steps=6, epoch_steps=3)
    epochs = [
        torch.stack(list(step_loader(images.images, 8, 1, recipe, lambda first=first: first)))
        for first in (0, 3)
    ]
    assert epochs[0].shape == (3, 4, 1, 8, 8)
    assert not epochs[0].equal(epochs[1])


def test_the_last_epoch_ends_with_the_last_step():
    first = [0]
    sampler = StepSampler(9, 4, 3, 5, seed=1, next_step=lambda: first[0])
    assert len(list(sampler)) == len(sampler) == 3
    first[0] = 3
    assert len(list(sampler)) == len(sampler) == 2


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
