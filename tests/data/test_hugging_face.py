"""Data sets of Hugging Face as objects, through `evaluate` and `certify`."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import comdefend
from comdefend.data.hugging_face import list_dataset
from comdefend.data.listing import Wanted
from comdefend.errors import ImageError, InputError, InputTypeError

NAMES = [f"class {number}" for number in range(10)]


def dataset(images, labels, **more):
    """A data set in memory, its images as PNG."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    return datasets.Dataset.from_dict({"image": images, "label": labels, **more}, features=features)


@pytest.fixture(scope="module")
def pixels(fashion):
    return (fashion.images[::20, 0] * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def given(fashion, pixels):
    return dataset([Image.fromarray(p.numpy()) for p in pixels], fashion.labels[::20].tolist())


def test_the_images_are_those_of_the_data_set(given, fashion, pixels):
    listing = list_dataset(given)
    assert len(listing) == 10
    read = listing.read(Wanted())
    assert read.images.equal(pixels.unsqueeze(1))
    assert read.labels.tolist() == fashion.labels[::20].tolist()
    assert read.classes == tuple(NAMES)
    formatted = list_dataset(given.with_format("torch")).read(Wanted(count=3, seed=1))
    assert len(formatted) == 3


def test_it_is_evaluated_and_certified_as_the_same_images_in_memory(given, fashion):
    options = {"defenses": ["bits:3"], "attacks": "fgsm", "eps": 8, "adaptive_steps": 1}
    labels = fashion.labels[::20]
    memory = comdefend.evaluate(fashion.classifier, fashion.images[::20], labels, **options)
    named = comdefend.evaluate(fashion.classifier, data=given, **options)
    assert [r.correct for r in named.rows()] == [r.correct for r in memory.rows()]
    assert named.record.data.fingerprint == memory.record.data.fingerprint
    assert named.record.data.source == "a data set of Hugging Face"
    certificate = comdefend.certify(
        fashion.classifier, data=given, sigma=0.12, n=100, sample=3, attacked=0
    )
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))[:3]
    assert [image.place for image in certificate.images] == order.tolist()
    assert [image.label for image in certificate.images] == labels[order].tolist()


def test_images_of_several_sizes_are_made_equal(fashion):
    draw = np.random.default_rng(0)
    images = [
        Image.fromarray(draw.integers(0, 256, (side, side), dtype=np.uint8)) for side in (30, 40)
    ]
    with pytest.raises(InputError, match="images must have one size here"):
        comdefend.evaluate(fashion.classifier, data=dataset(images, [0, 1]))
    evaluation = comdefend.evaluate(
        fashion.classifier, data=dataset(images, [0, 1]), resize=28, crop=28, defenses="none",
        attacks="fgsm", eps=8, adaptive_steps=1,
    )  # fmt: skip
    assert evaluation.record.data.images == 2


def test_images_in_files_and_images_that_are_none(tmp_path, fashion, pixels):
    path = tmp_path / "a.png"
    Image.fromarray(pixels[0].numpy()).save(path)
    assert list_dataset(dataset([str(path)], [0])).read(Wanted()).images[0, 0].equal(pixels[0])
    path.write_bytes(b"no image")
    with pytest.raises(ImageError, match="1 of 1 images cannot be used"):
        list_dataset(dataset([str(path)], [0])).read(Wanted())
    with pytest.raises(ImageError, match="row 0: holds no image bytes"):
        list_dataset(dataset([None], [0])).read(Wanted())


def test_what_cannot_be_evaluated_is_one_line(given):
    with pytest.raises(InputError, match=r"has splits test; give one, as in data\['test'\]"):
        list_dataset(datasets.DatasetDict({"test": given}))
    with pytest.raises(InputTypeError, match="not read as a stream: IterableDataset"):
        list_dataset(given.to_iterable_dataset())
    with pytest.raises(InputError, match="must have one column of images"):
        list_dataset(given.remove_columns("image"))
    with pytest.raises(InputError, match="must have one column of labels"):
        list_dataset(given.remove_columns("label"))
    unknown = dataset(given["image"][:], [-1] * 10)
    with pytest.raises(InputError, match="images without a label"):
        list_dataset(unknown)
    with pytest.raises(InputTypeError, match=r"data: must be a name, .* not dict"):
        comdefend.evaluate("fashion-mnist-small", data={})
