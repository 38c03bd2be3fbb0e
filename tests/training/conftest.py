import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from comdefend.data.image_set import ImageSet
from comdefend.data.shipped import fashion_images
from comdefend.data.sources import load_image_set
from comdefend.nn.classifier import ClassifierConfig
from comdefend.nn.config import PurifierConfig
from comdefend.nn.denoiser import DenoiserConfig
from comdefend.nn.pixelcnn import PixelCNNConfig
from comdefend.training.classifier import ClassifierTraining
from comdefend.training.initial import new_classifier
from comdefend.training.recipe import (
    ClassifierRecipe,
    DefenseRecipe,
    DenoiserRecipe,
    PixelCNNRecipe,
    PurifierRecipe,
)
from comdefend.training.run import train
from comdefend.zoo import save_weights

SMALL = ClassifierConfig(channels=1, widths=(4, 4, 8, 8), mean=(0.5,), std=(0.25,))


@pytest.fixture(scope="session")
def parquet(tmp_path_factory):
    """Middles of the shipped Fashion-MNIST images, 16x16: 96 to train on, 40 to test on."""
    folder = tmp_path_factory.mktemp("data")
    pixels, labels = fashion_images()
    for split, part in (("train", slice(0, 96)), ("test", slice(96, 136))):
        cells = []
        for image in pixels[part, 0, 6:22, 6:22].numpy():
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="PNG")
            cells.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"image": cells, "label": labels[part].tolist()})
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="session")
def data(parquet):
    return f"parquet:{parquet}"


@pytest.fixture(scope="session")
def images(data) -> ImageSet:
    """The 96 training images."""
    return load_image_set(data, "train")


@pytest.fixture(scope="session")
def test_images(data) -> ImageSet:
    """The 40 test images."""
    return load_image_set(data, "test")


@pytest.fixture(scope="session")
def descend():
    """A function that takes steps of both optimisers on one batch, and returns all losses."""

    def losses(module, batch, steps):
        module.steps = steps
        optimizers, schedulers = module.configure_optimizers()
        for _ in range(steps):
            loss, _ = module.loss(batch)
            yield loss.item()
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                optimizer.step()
                scheduler.step()

    return lambda *arguments: list(losses(*arguments))


@pytest.fixture(scope="session")
def guide(data, images, descend, tmp_path_factory):
    """The weight file of a tiny classifier that has seen some images."""
    recipe = ClassifierRecipe(data=data, network=SMALL, epochs=1)
    module = ClassifierTraining(recipe, new_classifier(SMALL, images, seed=0), steps=12)
    descend(module, (images.images[:48], images.labels[:48]), 12)
    path = tmp_path_factory.mktemp("guide") / "classifier.safetensors"
    save_weights(path, module.network.eval(), {"recipe": {"data": "none"}})
    return str(path)


@pytest.fixture(scope="session")
def recipes(data, guide):
    """A recipe of each kind, for two epochs that take a second."""
    purifier = PurifierConfig(channels=1, encoder_widths=(8,), decoder_widths=(8,), code_maps=4)
    return {
        "purifier": PurifierRecipe(
            data=data, network=purifier, steps=10, epoch_steps=5, batch=4, crop=8, validation=16
        ),
        "classifier": ClassifierRecipe(
            data=data, network=SMALL, epochs=2, batch=16, validation=16, cutout=4
        ),
        "denoiser": DenoiserRecipe(
            data=data, network=DenoiserConfig(channels=1, widths=(4, 4)), classifier=guide,
            steps=6, epoch_steps=3, batch=4, validation=16,
        ),
        "pixelcnn": PixelCNNRecipe(
            data=data, network=PixelCNNConfig(channels=1, width=8, layers=2, mixtures=2),
            steps=6, epoch_steps=3, batch=4, validation=16,
        ),
        "defense": DefenseRecipe(
            data=data, network=purifier, classifier=SMALL, epochs=2, batch=16, validation=16,
            noisy=False,
        ),
    }  # fmt: skip


@pytest.fixture(scope="session")
def trained(recipes, tmp_path_factory):
    """The weight file of an uninterrupted training by each of the recipes."""
    paths = {}

    def path(kind):
        if kind not in paths:
            folder = tmp_path_factory.mktemp(kind) / "run"
            paths[kind] = train(recipes[kind], folder, "float32")
        return paths[kind]

    return path
