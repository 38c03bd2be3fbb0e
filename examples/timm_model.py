"""A model of timm behind a purifier, with its own size, crop, mean and standard deviation.

Needs: pip install 'comdefend[demo,evaluate]', for timm and for the photographs
"""

import argparse

import timm
import torch
from torchvision.transforms.v2.functional import to_pil_image

from comdefend.data.shipped import image_crops
from comdefend.integrations.timm import defended, image_transform


def main() -> None:
    """Print how often purifying moves the answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--model", default="resnet18.a1_in1k")
    asked = parser.parse_args()
    # pretrained=True downloads the weights; without them the answers mean nothing.
    model = timm.create_model(asked.model, pretrained=False).eval()
    shield, prepare = defended(model, "photo"), image_transform(model)
    images = torch.stack(
        [prepare(to_pil_image(crop)) for crop in image_crops(3, asked.images, 256, 256)]
    )
    with torch.no_grad():
        moved = shield(images).argmax(1) != shield.classifier(images).argmax(1)
    print(f"{tuple(images.shape)}: purifying moves {int(moved.sum())} of {len(images)} answers")


if __name__ == "__main__":
    main()
