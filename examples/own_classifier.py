"""What a purifier buys a classifier of your own: clean, oblivious and adaptive.

Needs: pip install 'comdefend[evaluate]'
"""

import argparse

import torch
from torch import nn

import comdefend
from comdefend.data.shipped import fashion_images


class Mine(nn.Module):
    """Stands for your network: it normalises its images itself, and returns logits."""

    def __init__(self) -> None:
        super().__init__()
        self.network = comdefend.load_classifier("fashion-mnist-small")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images (N, 1, 28, 28) in [0, 1]."""
        return self.network(images)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    count = parser.parse_args().images
    images, labels = fashion_images()
    evaluation = comdefend.evaluate(
        Mine().eval(),
        images,
        labels,
        sample=count,
        defenses=["none", "gray-2bpp-adversarial", "jpeg:50"],
        attacks="bim:5",
        eps=8,
        adaptive_steps=5,
    )
    print(evaluation)


if __name__ == "__main__":
    main()
