import statistics
import time

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image

from comdefend.errors import ImageError
from comdefend.training.crops import Crop, FileCrops, StepSampler, TensorCrops, step_loader


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
    assert crops[Crop(0, 0, 0.0, 0.0)].flatten().tolist() == [0, 1, 6, 7]
    assert crops[Crop(0, 0, 1.0, 1.0)].flatten().tolist() == [28, 29, 34, 35]
    assert TensorCrops(images, 16)[Crop(0, 0, 0.5, 0.5)].shape == (1, 6, 6)


def test_a_step_loader_gives_the_crops_of_an_epoch(recipes, images):
    recipe = replace(recipes["purifier"], steps=6, epoch_steps=3)
    epochs = [
        torch.stack(list(step_loader(images.images, 8, recipe, lambda first=first: first)))
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


@pytest.fixture
def files(tmp_path):
    """Return two files: wide and colourful, its pixels say where they are; small and grey."""
    rows, columns = np.mgrid[:40, :60].astype(np.uint8)
    where = np.stack([rows, columns, np.full_like(rows, 7)], 2)
    Image.fromarray(where).save(tmp_path / "wide.png")
    Image.fromarray(np.full((10, 12), 200, np.uint8)).save(tmp_path / "small.png")
    return [tmp_path / "wide.png", tmp_path / "small.png"]


def test_crops_of_files_are_their_pixels(files):
    crops = FileCrops(files, 16, 3)
    corner = crops[Crop(0, 0, 1.0, 0.0)]
    assert corner.shape == (3, 16, 16)
    assert corner.dtype == torch.uint8
    assert corner[0].equal(torch.arange(16, dtype=torch.uint8).view(-1, 1).expand(16, 16))
    assert corner[1].equal(torch.arange(44, 60, dtype=torch.uint8).expand(16, 16))
    # Smaller than a crop: enlarged, and grey became RGB.
    assert crops[Crop(0, 1, 0.5, 0.5)].unique().tolist() == [200]


def test_a_zoomed_crop_shows_more(files):
    crops = FileCrops(files, 16, 3, zoom=2)
    near, far = (crops[Crop(0, 0, 0.0, 0.0, zoom=zoom)] for zoom in (0.0, 1.0))
    assert near[0].max() == 15
    assert 29 <= far[0].max() <= 31
    assert far.shape == near.shape


def test_crops_are_mirrored_where_the_recipe_flips(files):
    crop = Crop(0, 0, 0.3, 0.6, mirrored=True)
    straight, mirrored = (FileCrops(files, 16, 3, flip=flip)[crop] for flip in (False, True))
    assert mirrored.equal(straight.flip(-1))


def test_a_grey_crop_has_one_channel(files):
    assert FileCrops(files, 8, 1)[Crop(0, 1, 0.0, 0.0)].shape == (1, 8, 8)


def test_photographs_of_many_pixels_are_shrunk_once(tmp_path):
    Image.new("RGB", (3000, 1500)).save(tmp_path / "large.png")
    image = FileCrops([tmp_path / "large.png"], 16, 3).image(0)
    assert image.width * image.height == pytest.approx(2**20, rel=0.01)
    assert image.width == pytest.approx(2 * image.height, abs=1)


def test_decoded_pixels_leave_no_file(files, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    FileCrops(files, 16, 3, folder=folder)
    assert list(folder.iterdir()) == []


def test_all_damaged_files_are_named_before_the_training(files, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(files[0].read_bytes()[:-80])
    with pytest.raises(ImageError, match=r"2 of 4 images .*a\.png: .*; .*b\.png: .* Move them"):
        FileCrops([*files, tmp_path / "a.png", tmp_path / "b.png"], 16, 3)


class Slow(FileCrops):
    def __getitem__(self, crop):
        time.sleep(0.1)
        return super().__getitem__(crop)


def test_a_step_does_not_wait_for_crops_that_could_be_cut_during_the_one_before(files, recipes):
    recipe = replace(recipes["purifier"], steps=7, epoch_steps=7)
    waits = []
    # Cutting takes 0.1 s for each crop of a batch of four, and computing twice as long.
    loader = iter(step_loader(Slow(files, 8, 3), 8, recipe, lambda: 0))
    for _ in range(7):
        began = time.perf_counter()
        batch = next(loader)
        waits.append(time.perf_counter() - began)
        assert len(batch) == 4
        time.sleep(0.8)
    # The first waits for the process to start.
    assert statistics.median(waits[1:]) < 0.2
