"""Measure the ranges of shipped weights for 8-bit integers: ``python -m tools.quantize NAME``.

NAME may be followed by ``@BPP``. Measures on training images of the data set that the weights were
trained on, in the folder that COMDEFEND_DATA names. Needs a processor that computes in 8-bit
integers, with filters of 7 bits or of 8. ``--sensitivity`` prints how much precision each layer
costs by itself.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from comdefend import load
from comdefend.common.extras import require
from comdefend.data.sources import load_image_set
from comdefend.engines import calibrate, check_engine, open_engine, save_calibration
from comdefend.errors import InputError
from comdefend.nn.metrics import peak_signal_noise_ratio
from comdefend.zoo import load_record
from tools.entropy_tables import training_images

ROOT = Path(__file__).parent.parent
IMAGES, CHECKED, SEED = 300, 100, 0
SIDE = 160
"""Of the centre of a photograph, in pixels: blocks of 8 have 20 x 20 places."""


def main() -> None:
    """Calibrate, check and save; print what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="shipped weights, at one of their rates")
    parser.add_argument("--sensitivity", action="store_true", help="print the cost of each layer")
    parser.add_argument("--floats", nargs="*", help="layers that stay in floats")
    arguments = parser.parse_args()
    name = arguments.name
    purifier = load(name)
    data = load_record(name)["recipe"]["data"]
    pixels = _images(name, data, purifier.config.channels).float() / 255
    measured, held_out = pixels[:IMAGES], pixels[IMAGES:]
    calibration = calibrate(purifier, measured, arguments.floats)
    layers = sorted({key.rpartition(".")[0] for key in calibration})
    if arguments.sensitivity:
        for layer in layers:
            alone = {key: value for key, value in calibration.items() if f"{layer}." in key}
            engine = open_engine(purifier, "openvino", "int8", calibration=alone)
            print(layer, check_engine(engine, purifier, held_out))
    engine = open_engine(purifier, "openvino", "int8", calibration=calibration)
    agreement = check_engine(engine, purifier, held_out)
    with torch.no_grad():
        before, after = (peak_signal_noise_ratio(x(held_out), held_out) for x in (purifier, engine))
        lost = (before - after).item()
    print(f"{name}: {agreement}, {lost:.3f} dB lost")
    record = {
        "data": data,
        "images": IMAGES,
        "seed": SEED,
        "layers": layers,
        "nncf": require("nncf", "quantize").__version__,
        "psnr": agreement.psnr,
        "flipped": agreement.flipped,
        "psnr_lost": lost,
    }
    folder = ROOT / "src" / "comdefend" / "engines" / "calibrations"
    weights = purifier.weights()
    assert weights is not None
    save_calibration(folder / f"{name}.safetensors", weights, calibration, record)


def _images(name: str, data: str, channels: int) -> Tensor:
    """Return training images, (N, C, H, W) uint8; of photographs the centre."""
    if not data.startswith("folder:"):
        return load_image_set(data, "train", channels).sample(IMAGES + CHECKED, seed=SEED).images
    centres = []
    for image in training_images(name, channels)[1]:
        top, left = ((length - SIDE) // 2 for length in image.shape[-2:])
        if min(top, left) >= 0:
            centres.append(image[..., top : top + SIDE, left : left + SIDE])
    if len(centres) <= IMAGES:
        raise InputError(f"{data}: needs more than {IMAGES} photographs of {SIDE}x{SIDE}")
    return torch.cat(centres[: IMAGES + CHECKED])


if __name__ == "__main__":
    main()
