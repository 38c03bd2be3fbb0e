"""What documents take for granted: a user's models, images and data sets, as small as they can be.

Images are of ten classes, and the classifiers take them in grey and in colour.
"""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

# The user's package `my`, as documents import it.
MODELS = '''
import torch
from torch import nn


class Small(nn.Module):
    """Ten logits, of images in grey or in colour."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, images):
        return self.layers(images.mean(1, keepdim=True))


class Smoothing(nn.Module):
    """A defence."""

    def forward(self, images):
        return (images + images.flip(-1)) / 2


def resnet():
    torch.manual_seed(0)
    return Small().eval()


def attack(model, images, labels, eps):
    return (images + eps / 255).clamp(0, 1)
'''

# The names that the Python code of documents uses without defining them.
NAMES = """
import comdefend, torch
from PIL import Image
from my.models import Smoothing, attack, resnet
torch.manual_seed(0)
names = {
    "comdefend": comdefend,
    "purifier": comdefend.load("rgb-variable@2"),
    "classifier": resnet(),
    "model": resnet(),
    "image": Image.effect_noise((40, 30), 50).convert("RGB"),
    "images": torch.rand(10, 3, 32, 32),
    "labels": torch.arange(10),
    "my_module": Smoothing().eval(),
    "my_attack": attack,
}
"""

# A recipe as docs/choosing.md describes it.
RECIPE = """
kind: classifier
data: cifar10
network: {widths: [4, 4, 4, 4]}
epochs: 1
batch: 8
validation: 8
purifier: rgb-variable@1
start: classifier.safetensors
"""


def write_stand_ins(folder):
    """Write them into a folder: the user's files, and below ``data`` the data sets."""
    draw = np.random.default_rng(0)
    (folder / "my").mkdir()
    (folder / "my/models.py").write_text(MODELS)
    (folder / "mine.yaml").write_text(RECIPE)
    # The state dict of `resnet`.
    weights = {"layers.2.weight": torch.zeros(10, 16), "layers.2.bias": torch.zeros(10)}
    nn.init.normal_(weights["layers.2.weight"])
    save_file(weights, folder / "resnet.safetensors")
    _write_classifier(folder / "classifier.safetensors")
    for name, channels in (("photos", 3), ("train", 1)):
        for label in range(10):
            (folder / name / str(label)).mkdir(parents=True)
            for index in range(4):
                png = _png(draw, channels)
                (folder / name / str(label) / f"{index}.png").write_bytes(png)
    for name, channels in (("cifar10", 3), ("fashion-mnist", 1)):
        (folder / "data" / name).mkdir(parents=True)
        for split in ("train", "test"):
            images = [{"bytes": _png(draw, channels), "path": None} for _ in range(40)]
            table = pa.table({"image": images, "label": [index % 10 for index in range(40)]})
            pq.write_table(table, folder / "data" / name / f"{split}.parquet")


def _write_classifier(path):
    from comdefend.nn.classifier import ClassifierConfig, SmallClassifier
    from comdefend.zoo import save_weights

    save_weights(path, SmallClassifier(ClassifierConfig(widths=(4, 4, 4, 4))), {})


def _png(draw, channels):
    """A noisy image, as PNG: 32x32 in colour, 28x28 in grey."""
    shape = (32, 32, 3) if channels == 3 else (28, 28)
    file = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()
