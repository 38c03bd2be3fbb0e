"""Learn the probability tables of shipped weights: ``python -m tools.entropy_tables NAME...``.

Colour weights learn on photographs in the folder that COMDEFEND_DATA names, without those that the
recommended weights held out of training; grey ones on the training images of their data set. Tables
are written beside the others, where files are found by the hash of their weights.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from comdefend import load
from comdefend.codec.learning import learn_tables
from comdefend.codec.levels import Levels, to_levels
from comdefend.codec.tables import save_tables
from comdefend.common.defaults import RECOMMENDED
from comdefend.data.image_files import read_named
from comdefend.data.sources import load_training_images
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import checksum, load_record

ROOT = Path(__file__).parent.parent
PLACES = 1_000_000
"""Places of codes to learn from."""
SIDE = 64
"""Places on a side, of the centre of an image that is taken: many images tell more than a few."""
SEED = 0


def main() -> None:
    """Learn and save; print how large the tables are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help="shipped weights")
    for name in parser.parse_args().names:
        purifier = load(name)
        data, images = training_images(name, purifier.config.channels)
        codes = list(_codes(purifier, images))
        tables = learn_tables(codes, 2**purifier.config.value_bits)
        path = ROOT / "src" / "comdefend" / "codec" / "tables" / f"{name}.safetensors"
        record = {"data": data, "images": len(codes), "side": SIDE, "seed": SEED}
        save_tables(path, tables, checksum(name), record)
        print(f"{name}: {len(codes)} images, {path.stat().st_size / 1000:.0f} kB")


def training_images(name: str, channels: int) -> tuple[str, Iterator[Tensor]]:
    """Return a data set, and its images, (1, C, H, W) uint8, in an order drawn once."""
    generator = torch.Generator().manual_seed(SEED)
    recipe = load_record(name if channels == 1 else RECOMMENDED)["recipe"]
    images = load_training_images(recipe["data"], channels)
    if isinstance(images, Tensor):
        return recipe["data"], iter(
            images[torch.randperm(len(images), generator=generator)].split(1)
        )
    # As training did: those held out come first.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe["seed"]))
    kept = order[recipe["validation"] :]
    drawn = kept[torch.randperm(len(kept), generator=generator)].tolist()
    return recipe["data"], (
        torch.from_numpy(read_named(images[index]).pixels(channels)) for index in drawn
    )


@torch.inference_mode()
def _codes(purifier: ComDefend, images: Iterator[Tensor]) -> Iterator[Levels]:
    """Yield the values of codes until there are enough places."""
    places, side = 0, SIDE * purifier.config.downscale
    for image in images:
        if places > PLACES:
            return
        top, left = (max(length - side, 0) // 2 for length in image.shape[-2:])
        centre = image[..., top : top + side, left : left + side]
        bits = purifier.encode(centre.float() / 255)[0].numpy().astype(np.uint8)
        yield to_levels(bits, purifier.config.value_bits)
        places += bits[0].size


if __name__ == "__main__":
    main()
