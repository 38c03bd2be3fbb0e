"""A purifier as a step of a torchvision pipeline, in the workers of a data loader.

Needs: pip install 'comdefend[demo]', for torchvision and for the photographs
"""

import argparse

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from comdefend.data.shipped import image_crops
from comdefend.integrations.torchvision import Purify


class Photographs(torch.utils.data.Dataset):
    """Crops of photographs as PIL images, through a pipeline."""

    def __init__(self, count: int, pipeline: v2.Transform) -> None:
        self.pixels, self.pipeline = image_crops(3, count, 96, 128), pipeline

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.pipeline(v2.functional.to_pil_image(self.pixels[index]))


def main() -> None:
    """Print the shape of what a classifier would be given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    pipeline = v2.Compose(
        [
            v2.CenterCrop(96),
            Purify("photo"),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    photographs = Photographs(asked.images, pipeline)
    for batch in DataLoader(photographs, batch_size=8, num_workers=asked.workers):
        print(f"purified and normalised: {tuple(batch.shape)}")


if __name__ == "__main__":
    main()
