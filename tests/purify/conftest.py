import uuid

import fsspec
import numpy as np
import pytest
import torch

from comdefend.nn.config import PurifierConfig
from comdefend.nn.images import to_bytes
from comdefend.nn.purifier import ComDefend
from comdefend.purify.batches import Batches
from tests.servers import server


class OnBytes:
    """What purifies floats, as an engine purifies bytes."""

    def __init__(self, purifier):
        self.purifier, self.config = purifier, purifier.config

    @torch.inference_mode()
    def purify_bytes(self, images):
        purified = self.purifier(torch.from_numpy(images).float() / 255)
        return to_bytes(purified).numpy(), purified.isfinite().flatten(1).all(1).numpy()


class ArrayCanvas:
    """(1, C, H, W) uint8 as a canvas."""

    def __init__(self, pixels):
        self.pixels, self.size = pixels, tuple(pixels.shape[-2:])

    def read(self, rows, columns):
        return self.pixels[..., rows, columns].copy()

    def write(self, rows, columns, pixels):
        self.pixels[..., rows, columns] = pixels


@pytest.fixture(scope="session")
def purify_images():
    """Purify copies of (1, C, H, W) uint8 images together; return them, and which are done."""

    def purify(purifier, images, tile):
        batches, done = Batches(OnBytes(purifier), tile), {}
        copies = [image.clone() for image in images]  # which share their memory with the canvas
        for n, copy in enumerate(copies):
            batches.add(ArrayCanvas(copy.numpy()), lambda error, n=n: done.update({n: not error}))
        batches.flush()
        assert sorted(done) == list(range(len(images)))
        return copies, [done[n] for n in range(len(images))]

    return purify


@pytest.fixture(scope="session")
def purify_alone(purify_images):
    """Purify one image, and return it."""

    def purify(purifier, image, tile=10_000):
        (purified,), (done,) = purify_images(purifier, [image], tile)
        assert done
        return purified

    return purify


@pytest.fixture(scope="session")
def tiny():
    torch.manual_seed(0)
    return ComDefend(PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=2)).eval()


class InDouble:
    """A purifier in double precision: no logit is so near 0 that rounding turns a bit."""

    def __init__(self, purifier):
        self.purifier, self.config = purifier.double(), purifier.config

    def __call__(self, images):
        return self.purifier(images.double())

    def whole(self, pixels):
        return (self.purifier(pixels.double() / 255) * 255).round().to(torch.uint8)


@pytest.fixture(scope="session")
def in_double():
    return InDouble


@pytest.fixture(scope="session")
def photo(chelsea):
    """(1, 3, 70, 90) uint8."""
    pixels = np.array(chelsea.crop((100, 50, 190, 120)))
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)


@pytest.fixture(scope="module")
def s3_server():
    with server("-m", "moto.server", "-H", "127.0.0.1", "-p") as address:
        yield address


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A file system of S3, and the name of a bucket of its own."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    # Instances of earlier tests may hold another server.
    type(system).clear_instance_cache()
    bucket = f"photos-{uuid.uuid4().hex[:8]}"
    system.mkdir(bucket)
    yield system, bucket
    type(system).clear_instance_cache()
