import pytest
import torch
from PIL import Image

from comdefend.data.shipped import fashion_images
from comdefend.evaluation.loading import build_experiment
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import save_weights


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Twenty shipped images as a folder of ten classes, and a small purifier."""
    place = tmp_path_factory.mktemp("evaluation")
    images, labels = fashion_images()
    for label in range(10):
        folder = place / "images" / "test" / f"{label}"
        folder.mkdir(parents=True)
        for index in (labels == label).nonzero().flatten()[:2].tolist():
            Image.fromarray(images[index, 0].numpy()).save(folder / f"{index}.png")
    torch.manual_seed(0)
    config = PurifierConfig(channels=1, encoder_widths=(4,), decoder_widths=(4,), code_maps=4)
    save_weights(place / "tiny.safetensors", ComDefend(config), {})
    return place


@pytest.fixture(scope="session")
def experiment(place):
    """Make a small experiment, with some of its fields changed."""
    plain = {
        "name": "tiny", "title": "Tiny", "data": f"folder:{place / 'images'}",
        "classifier": "fashion-mnist-small",
        "defenses": ["none", "bits:3", "noise:0.05", str(place / "tiny.safetensors")],
        "oblivious": [{"attack": "fgsm", "eps": [2, 8]}, {"attack": "deepfool", "steps": 2}],
        "adaptive": [{"attack": "pgd", "eps": [2, 8], "steps": 4}],
        "query": [{"attack": "square", "eps": [8], "steps": 10, "images": 4}],
        "corruptions": ["jpeg:10", "noise:0.1"],
        "stand_ins": ["identity", "noisy"], "draws": 2, "checks": 2, "images": 16,
    }  # fmt: skip
    return lambda **changes: build_experiment({**plain, **changes}, "test")
