"""A defence and an attack of your own, measured beside those that ship.

Needs: pip install 'comdefend[evaluate]'
"""

import argparse

import torch
from torch import Tensor, nn

import comdefend
from comdefend.data.shipped import fashion_images


class Blur(nn.Module):
    """A defence: the mean of a pixel and its eight neighbours."""

    def forward(self, images: Tensor) -> Tensor:
        """Return images of the same shape in [0, 1]."""
        return nn.functional.avg_pool2d(images, 3, stride=1, padding=1)


def momentum(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Attack by five steps along the sign of an averaged gradient; eps is in units of 1/255."""
    attacked, average = images, torch.zeros_like(images)
    for _ in range(5):
        attacked = attacked.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(attacked), labels, reduction="sum")
        average = average + torch.autograd.grad(loss, attacked)[0]
        step = attacked.detach() + eps / 255 / 4 * average.sign()
        attacked = (images + (step - images).clamp(-eps / 255, eps / 255)).clamp(0, 1)
    return attacked


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    count = parser.parse_args().images
    images, labels = fashion_images()
    evaluation = comdefend.evaluate(
        comdefend.load_classifier("fashion-mnist-small"),
        images,
        labels,
        sample=count,
        defenses=["none", Blur().eval(), "median:3"],
        attacks=["fgsm", momentum],
        eps=8,
        adaptive_steps=5,
    )
    print(evaluation)


if __name__ == "__main__":
    main()
