"""Within which radius no change of an image alters the answer, proven by randomised smoothing.

Needs: pip install 'comdefend[evaluate]'
"""

import argparse

import comdefend
from comdefend.data.shipped import fashion_images


def main() -> None:
    """Print the certificate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--draws", type=int, default=1000)
    asked = parser.parse_args()
    images, labels = fashion_images()
    defended = comdefend.DefendedClassifier(
        comdefend.load("gray-2bpp-adversarial"), comdefend.load_classifier("fashion-mnist-small")
    )
    print(
        comdefend.certify(
            defended, images, labels, sigma=0.12, n=asked.draws, sample=asked.images, attacked=0
        )
    )


if __name__ == "__main__":
    main()
