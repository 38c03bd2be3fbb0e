"""Images as NumPy arrays of bytes: one function.

Needs: pip install 'comdefend[demo]', for the photographs
"""

import argparse

import numpy as np

from comdefend.data.shipped import image_crops
from comdefend.integrations.arrays import purify_array


def main() -> None:
    """Print how much purifying changes the pixels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    crops = image_crops(3, parser.parse_args().images, 96, 128)
    images = crops.numpy().transpose(0, 2, 3, 1)
    purified = purify_array(images, "photo")
    changed = np.abs(purified.astype(int) - images).mean()
    print(f"{purified.shape} {purified.dtype}: changed by {changed:.1f} of 255 on average")


if __name__ == "__main__":
    main()
