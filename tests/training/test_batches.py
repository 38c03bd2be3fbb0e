import torch
from torch.utils.data import DataLoader

from comdefend.nn.config import PurifierConfig
from comdefend.training.batches import (
    EpochSampler,
    StepSampler,
    TensorCrops,
    augment,
    step_generator,
)
from comdefend.training.purifier import PurifierTraining
from comdefend.training.recipe import PurifierRecipe
from comdefend.training.run import fit

RECIPE = PurifierRecipe(
    data="fashion-mnist",
    network=PurifierConfig(channels=1, encoder_widths=(4,), decoder_widths=(4,), code_maps=2),
    steps=15,
    epoch_steps=5,
    batch=2,
)


class Spy(TensorCrops):
    """Notes which crops training asked for."""

    def __init__(self, images, size, seen):
        super().__init__(images, size)
        self.seen = seen

    def __getitem__(self, crop):
        self.seen.append(crop)
        return super().__getitem__(crop)


def crops_seen(epochs, folder):
    seen = []
    images = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
    module = PurifierTraining(RECIPE)
    sampler = StepSampler(len(images), 2, 5, seed=0, next_step=lambda: module.step)
    train = DataLoader(Spy(images, 16, seen), batch_sampler=sampler)
    fit(module, train, DataLoader(images[:4], batch_size=4), folder, epochs, [], "32")
    return seen


def test_every_epoch_goes_on_where_the_last_one_ended_and_so_does_a_resumed_run(tmp_path):
    whole = crops_seen(3, tmp_path / "whole")
    assert [step for step, *_ in whole[::2]] == list(range(15))
    assert len({crop[1:] for crop in whole}) == 30
    first = crops_seen(2, tmp_path / "parts")
    second = crops_seen(3, tmp_path / "parts")
    assert first + second == whole


def test_processes_cut_a_batch_into_shares():
    def batches(rank, world):
        return list(StepSampler(9, 4, 3, seed=1, next_step=lambda: 7, share=lambda: (rank, world)))

    whole = batches(0, 1)
    shares = zip(batches(0, 2), batches(1, 2), strict=True)
    assert [a + b for a, b in shares] == whole
    assert all(len(batch) == 4 for batch in whole)


def test_crops_reach_every_corner():
    images = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    crops = TensorCrops(images, 2)
    assert crops[0, 0, 0.0, 0.0].flatten().tolist() == [0, 1, 6, 7]
    assert crops[0, 0, 1.0, 1.0].flatten().tolist() == [28, 29, 34, 35]
    assert TensorCrops(images, 16)[0, 0, 0.5, 0.5].shape == (1, 6, 6)


def test_an_epoch_of_a_classifier_sees_every_image_once_in_a_new_order():
    epoch = [0]
    sampler = EpochSampler(10, 3, seed=0, epoch=lambda: epoch[0])
    first = list(sampler)
    assert len(first) == len(sampler) == 3
    assert len({i for batch in first for i in batch}) == 9
    epoch[0] = 1
    assert list(sampler) != first
    epoch[0] = 0
    assert list(sampler) == first


def test_generators_of_steps_differ():
    generators = [
        step_generator(seed, purpose, step)
        for seed in (0, 1)
        for purpose in ("crops", "noise")
        for step in range(9)
    ]
    assert len({torch.rand(1, generator=g).item() for g in generators}) == 36


def test_augmentation_shifts_mirrors_and_blanks():
    images = torch.rand(64, 1, 12, 12)

    def views(translate=0, flip=False, cutout=0):
        generator = torch.Generator().manual_seed(0)
        return augment(images, generator, translate, flip, cutout)

    assert views().equal(images)
    mirrored = (views(flip=True) == images.flip(-1)).flatten(1).all(1)
    assert 16 < mirrored.sum() < 48
    assert (views(flip=True) == images).flatten(1).all(1).equal(~mirrored)
    blanked = views(cutout=4) == 0.5
    assert (blanked.flatten(1).sum(1) == 16).all()
    shifted = views(translate=2)
    assert shifted.shape == images.shape
    assert not shifted.equal(images)
