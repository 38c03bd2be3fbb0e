import re

import numpy as np
import pytest
import torch
from PIL import Image

from comdefend.data.image_set import ImageSet
from comdefend.data.listing import Wanted, fit_set
from comdefend.data.sources import load_image_set, load_training_images
from comdefend.errors import ImageError, InputError


@pytest.fixture
def photos(tmp_path):
    """A folder of two classes, and a way to put images of a size and mode into it."""
    noise = np.random.default_rng(0)

    def put(name, width=6, height=4, mode="RGB", **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        image.save(path, **options)
        return image

    put.spec = f"folder:{tmp_path}"
    return put


def test_two_sizes_are_named_and_made_equal(photos):
    photos("ant/a.png", 12, 8)
    photos("bee/b.png", 9, 18)
    message = r"found 2 .*a\.png 8x12, .*b\.png 18x9; .* --resize 256 --crop 224"
    with pytest.raises(InputError, match=message):
        load_image_set(photos.spec, "test")
    data = load_image_set(photos.spec, "test", wanted=Wanted(resize=6, crop=5))
    assert data.images.shape == (2, 3, 5, 5)


def test_resizing_is_that_of_the_shorter_side_and_the_crop_central(photos):
    image = photos("ant/a.png", 12, 8)
    photos("bee/b.png", 12, 8)
    data = load_image_set(photos.spec, "test", wanted=Wanted(resize=4, crop=2))
    small = np.asarray(image.resize((6, 4), Image.Resampling.BILINEAR))
    assert data.images[0].permute(1, 2, 0).numpy().tolist() == small[1:3, 2:4].tolist()
    # Sizes that differ only outside of the crop.
    photos("bee/b.png", 10, 8)
    assert load_image_set(photos.spec, "test", wanted=Wanted(crop=8)).images.shape[-1] == 8


def test_a_photo_lying_on_its_side_has_its_upright_size(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    photos("ant/a.jpg", 12, 8, exif=exif)
    photos("bee/b.jpg", 8, 12)
    assert load_image_set(photos.spec, "test").images.shape == (2, 3, 12, 8)


def test_grey_among_colour_becomes_colour(photos):
    grey = photos("ant/a.png", mode="L")
    photos("bee/b.png")
    data = load_image_set(photos.spec, "test")
    assert data.images.shape == (2, 3, 4, 6)
    assert data.images[0, 2].tolist() == np.asarray(grey).tolist()
    assert "1 of 2 images are grey; all are RGB" in data.notes[0]
    photos("bee/b.png", mode="LA")
    assert load_image_set(photos.spec, "test").images.shape == (2, 1, 4, 6)


def test_all_bad_files_are_named_and_may_be_left_out(photos, tmp_path):
    for name in ("ant/1.png", "bee/2.jpg", "bee/3.png"):
        photos(name)
    photos("ant/cmyk.jpg", mode="CMYK")
    (tmp_path / "bee" / "text.png").write_text("nonsense")
    with pytest.raises(ImageError) as caught:
        load_image_set(photos.spec, "test")
    message = str(caught.value)
    assert "2 of 5 images cannot be used" in message
    assert re.search(r"cmyk\.jpg: .*CMYK.*text\.png: is not an image.*--skip-unreadable", message)
    with pytest.raises(ImageError, match=r"cmyk\.jpg.*text\.png"):
        load_training_images(photos.spec, 3)
    data = load_image_set(photos.spec, "test", wanted=Wanted(skip_unreadable=True))
    assert data.labels.tolist() == [0, 1, 1]
    assert "left out, 2 of 5" in data.notes[0]


def test_truncated_files_are_named_as_well(photos, tmp_path):
    photos("ant/1.png")
    for name in ("bee/2.png", "bee/3.png"):
        photos(name, 60, 40)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:3000])
    photos("ant/1.png", 60, 40)
    with pytest.raises(ImageError, match=r"2 of 3 images cannot be used: .*2\.png.*3\.png"):
        load_image_set(photos.spec, "test")
    data = load_image_set(photos.spec, "test", wanted=Wanted(skip_unreadable=True))
    assert data.labels.tolist() == [0]


def test_only_what_is_drawn_is_read(photos, tmp_path):
    for number in range(6):
        photos(f"{'ant' if number < 3 else 'bee'}/{number}.png")
    whole = load_image_set(photos.spec, "test")
    wanted = Wanted(count=3, seed=5)
    for position in set(range(6)) - set(wanted.order(6)):
        next(tmp_path.glob(f"*/{position}.png")).write_text("nonsense")
    drawn = load_image_set(photos.spec, "test", wanted=wanted)
    assert drawn.fingerprint() == whole.sample(3, 5).fingerprint()
    assert fit_set(whole, wanted).fingerprint() == drawn.fingerprint()


def test_images_in_memory_are_resized_as_files_are(photos):
    photos("ant/a.png", 12, 8)
    photos("bee/b.png", 12, 8)
    wanted = Wanted(resize=4, crop=2)
    files = load_image_set(photos.spec, "test", wanted=wanted)
    memory = fit_set(load_image_set(photos.spec, "test"), wanted)
    assert memory.fingerprint() == files.fingerprint()
    two = ImageSet(torch.zeros(1, 2, 8, 8, dtype=torch.uint8), torch.tensor([0]))
    assert fit_set(two, wanted).images.shape == (1, 2, 2, 2)


@pytest.mark.parametrize(("size", "taken"), [((12, 8), True), ((5, 5), False)])
def test_the_usual_size_is_for_images_that_differ_from_it(photos, size, taken):
    photos("ant/a.png", *size)
    photos("bee/b.png", *size)
    wanted = Wanted(usual=(6, 5))
    asked = Wanted(resize=6, crop=5) if taken else Wanted()
    files = load_image_set(photos.spec, "test", wanted=wanted)
    memory = fit_set(load_image_set(photos.spec, "test"), wanted)
    assert files.images.shape == (2, 3, 5, 5)
    expected = load_image_set(photos.spec, "test", wanted=asked).fingerprint()
    assert files.fingerprint() == memory.fingerprint() == expected
    for data in (files, memory):
        assert any("are resized to 6 and cropped to 5x5" in note for note in data.notes) == taken


def test_the_usual_size_makes_images_of_two_sizes_equal(photos):
    photos("ant/a.png", 12, 8)
    photos("bee/b.png", 5, 5)
    data = load_image_set(photos.spec, "test", wanted=Wanted(usual=(6, 5)))
    assert data.images.shape == (2, 3, 5, 5)


def test_a_crop_that_does_not_fit_names_the_file(photos):
    photos("ant/a.png", 12, 8)
    photos("bee/b.png", 12, 6)
    with pytest.raises(InputError, match=r"crop: the images are 6x12 \(.*b\.png\), 7 does not fit"):
        load_image_set(photos.spec, "test", wanted=Wanted(crop=7))
