import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import comdefend
from comdefend.demo.scenes import fashion_scene

# Processes that share a machine's cores get in each other's way with more than a thread each;
# those that tests start inherit the setting.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rgb():
    return comdefend.load("rgb-12bpp")


@pytest.fixture(scope="session")
def gray():
    return comdefend.load("gray-4bpp")


@pytest.fixture(scope="session")
def fashion():
    """The 200 shipped Fashion-MNIST test images with their classifier and purifier."""
    return fashion_scene()


@pytest.fixture(scope="session")
def photo_folder():
    """The photographs in scikit-image's wheel."""
    import skimage.data

    return Path(skimage.data.__file__).parent


@pytest.fixture(scope="session")
def chelsea(photo_folder):
    """The cat, 451x300, RGB."""
    with Image.open(photo_folder / "chelsea.png") as image:
        return image.convert("RGB")


@pytest.fixture
def data_folder():
    """The folder of real data sets; tests that need it are skipped without it."""
    if not (folder := os.environ.get("COMDEFEND_DATA")):
        pytest.skip("COMDEFEND_DATA is not set")
    return Path(folder)
