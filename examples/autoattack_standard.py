"""pyautoattack's APGD, the first part of AutoAttack, on a defended classifier.

Needs: pip install 'comdefend[evaluate]'
"""

import argparse

import pyautoattack

import comdefend
from comdefend.data.shipped import fashion_images


def main() -> None:
    """Print the robust accuracy within 8/255."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_args()
    pixels, labels = fashion_images()
    images = pixels[:: len(pixels) // asked.images].float() / 255
    labels = labels[:: len(pixels) // asked.images]
    defended = comdefend.DefendedClassifier(
        comdefend.load("gray-2bpp-adversarial"), comdefend.load_classifier("fashion-mnist-small")
    )
    runner = pyautoattack.AutoAttack(defended, eps=8 / 255, version="custom", device="cpu")
    runner.attacks_to_run = ["apgd-ce"]
    runner.apgd.n_iter, runner.apgd.n_restarts = asked.steps, 1
    attacked, _ = runner.run_standard_evaluation(images, labels, batch_size=len(images))
    right = (defended(attacked).argmax(1) == labels).float().mean().item()
    print(f"adaptive APGD within 8/255: {right:.0%} of {len(images)} images stay right")


if __name__ == "__main__":
    main()
