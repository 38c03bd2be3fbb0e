"""torchattacks attacks a defended classifier as it would any other.

Needs: pip install --no-deps torchattacks, since it wants a version of requests of 2020.
"""

import argparse

import torch
import torchattacks

import comdefend
from comdefend.data.shipped import fashion_images


def main() -> None:
    """Print the robust accuracy under PGD within 8/255."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50)
    count = parser.parse_args().images
    pixels, labels = fashion_images()
    images = pixels[:: len(pixels) // count].float() / 255
    labels = labels[:: len(pixels) // count]
    defended = comdefend.DefendedClassifier(
        comdefend.load("gray-2bpp-adversarial"), comdefend.load_classifier("fashion-mnist-small")
    )
    attack = torchattacks.PGD(defended, eps=8 / 255, alpha=2 / 255, steps=10)
    attacked = attack(images, labels)
    with torch.no_grad():
        right = (defended(attacked).argmax(1) == labels).float().mean().item()
    print(f"adaptive PGD within 8/255: {right:.0%} of {len(images)} images stay right")


if __name__ == "__main__":
    main()
