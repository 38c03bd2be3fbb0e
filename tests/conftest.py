import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import comdefend
from comdefend.data.shipped import fashion_images
from comdefend.defenses import DefendedClassifier

# Parallel workers share the cores: a thread each, for the processes that tests start as well.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter):
    """List why tests were skipped, once for each reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)


@dataclass(frozen=True)
class Fashion:
    """The 200 shipped Fashion-MNIST test images, their classifier, and `gray-4bpp` before it."""

    images: Tensor  # (200, 1, 28, 28) float in [0, 1]
    labels: Tensor  # (200,) int64
    classifier: nn.Module
    defended: DefendedClassifier


@pytest.fixture(scope="session")
def rgb():
    return comdefend.load("rgb-12bpp")


@pytest.fixture(scope="session")
def gray():
    return comdefend.load("gray-4bpp")


@pytest.fixture(scope="session")
def fashion(gray):
    images, labels = fashion_images()
    classifier = comdefend.load_classifier("fashion-mnist-small")
    return Fashion(images.float() / 255, labels, classifier, DefendedClassifier(gray, classifier))


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
        pytest.skip("COMDEFEND_DATA is not set to a folder of data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def chromium():
    """A real browser without a window; tests that need it are skipped where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    off = ("gpu", "quic", "background-networking", "component-update", "sync")
    switches = ["--no-sandbox", "--no-first-run", *(f"--disable-{part}" for part in off)]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=switches)
        yield browser
        browser.close()
