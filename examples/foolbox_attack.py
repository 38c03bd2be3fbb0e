"""Foolbox attacks a defended classifier as it would any other; nothing of ours stands between.

Needs: pip install 'comdefend[evaluate]'
"""

import argparse

import foolbox

import comdefend
from comdefend.data.shipped import fashion_images


def main() -> None:
    """Print the robust accuracy under PGD at three bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50)
    count = parser.parse_args().images
    pixels, labels = fashion_images()
    images = pixels[:: len(pixels) // count].float() / 255
    labels = labels[:: len(pixels) // count]
    defended = comdefend.DefendedClassifier(
        comdefend.load("gray-2bpp-adversarial"), comdefend.load_classifier("fashion-mnist-small")
    )
    model = foolbox.PyTorchModel(defended, bounds=(0, 1))
    bounds = [2 / 255, 4 / 255, 8 / 255]
    _, _, broken = foolbox.attacks.LinfPGD(steps=10)(model, images, labels, epsilons=bounds)
    for bound, share in zip(bounds, (~broken).float().mean(1).tolist(), strict=True):
        print(f"adaptive PGD within {bound * 255:.0f}/255: {share:.0%} of {len(images)} stay right")


if __name__ == "__main__":
    main()
