import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import comdefend
from comdefend.data.shipped import image_crops
from comdefend.errors import InputError, InputTypeError
from comdefend.integrations.torchvision import Purify

NAME = "rgb-12bpp-lite"


@pytest.fixture(scope="module")
def purify():
    return Purify(NAME)


@pytest.fixture(scope="module")
def pixels():
    return image_crops(3, 2, 32, 40)


@pytest.fixture(scope="module")
def expected(pixels):
    with torch.no_grad():
        return comdefend.load(NAME)(pixels.float() / 255)


def near(bytes_, floats):
    """Whether bytes are the floats, rounded; batches may round the last bit differently."""
    return (bytes_.float() - floats * 255).abs().max() <= 1


def test_each_kind_of_image_comes_back_as_that_kind(purify, pixels, expected):
    tensor = purify(pixels[0])
    assert type(tensor) is torch.Tensor
    assert tensor.dtype == torch.uint8
    assert near(tensor, expected[0])
    floats = purify(pixels.float() / 255)
    torch.testing.assert_close(floats, expected, atol=1e-5, rtol=0)
    image = purify(tv_tensors.Image(pixels[0]))
    assert type(image) is tv_tensors.Image
    assert near(image.as_subclass(torch.Tensor), expected[0])
    video = purify(tv_tensors.Video(pixels))
    assert type(video) is tv_tensors.Video
    assert near(video.as_subclass(torch.Tensor), expected)
    picture = purify(v2.functional.to_pil_image(pixels[0]))
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGB", (40, 32))
    assert near(v2.functional.pil_to_tensor(picture), expected[0])


def test_what_is_no_image_stays_as_it_is(purify, pixels, expected):
    boxes = tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(32, 40))
    mask = tv_tensors.Mask(torch.ones(32, 40))
    sample = {"image": tv_tensors.Image(pixels[0]), "rest": (boxes, mask, torch.ones(3, 3), 7)}
    out = purify(sample)
    assert near(out["image"].as_subclass(torch.Tensor), expected[0])
    assert out["rest"][0] is boxes
    assert out["rest"][1] is mask
    assert out["rest"][2].eq(1).all()
    assert out["rest"][3] == 7


def test_grey_images(fashion):
    purify = Purify("gray-2bpp-adversarial")
    pixels = (fashion.images[0] * 255).round().to(torch.uint8)
    picture = purify(v2.functional.to_pil_image(pixels))
    assert (picture.mode, picture.size) == ("L", (28, 28))


class Pictures(Dataset):
    """PIL images of several sizes, through a pipeline."""

    def __init__(self, pixels, transform):
        self.pixels, self.transform = pixels, transform

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        return self.transform(v2.functional.to_pil_image(self.pixels[index])), index


def test_it_stands_in_a_pipeline_in_the_workers_of_a_loader(purify, pixels):
    pipeline = v2.Compose(
        [
            v2.CenterCrop(24), purify, v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )  # fmt: skip
    data = Pictures(pixels, pipeline)
    loaded = list(DataLoader(data, batch_size=2, num_workers=1))
    (images, indices), = loaded  # fmt: skip
    assert images.shape == (2, 3, 24, 24)
    assert indices.tolist() == [0, 1]
    here = torch.stack([data[index][0] for index in range(2)])
    # One of 255 steps, normalised.
    assert (images - here).abs().max() <= 1 / 255 / 0.25 + 1e-5
    # What a classifier is trained on must be no tensor of inference mode.
    assert not here.is_inference()


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (Image.new("P", (8, 8)), InputError, "PIL images must be RGB or L, not P"),
        (Image.new("L", (8, 8)), InputError, "have 1 channels, these weights take 3"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), InputTypeError, "must be float, not torch.int64"),
        (torch.full((3, 8, 8), 7.0), InputError, r"must lie in \[0, 1\]"),
        (torch.zeros(8, 8), InputError, r"shape \(..., C, H, W\), not \(8, 8\)"),
    ],
)
def test_other_images_are_refused_in_one_line(purify, image, error, message):
    with pytest.raises(error, match=message):
        purify(image)
