"""Photographs purified by Ray Data: here on one machine, the same on many.

Needs: pip install 'comdefend[demo,ray]'
"""

import argparse
from pathlib import Path

import ray
from PIL import Image

from comdefend.data.shipped import image_crops
from comdefend.integrations.ray import purify_dataset


def write_photographs(folder: Path, count: int) -> list[Path]:
    """Write crops of photographs, and return where; yours may lie at s3:// addresses."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{n:04}.png" for n in range(count)]
    for path, pixels in zip(paths, image_crops(3, count, 96, 128), strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return paths


def main() -> None:
    """Purify photographs on a small cluster of this machine, and count them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("clean"))
    asked = parser.parse_args()
    output = asked.output.absolute()
    photographs = write_photographs(output / "originals", asked.images)
    # ray.init(address="head:6379") on a cluster.
    ray.init(num_cpus=asked.cores, object_store_memory=128 << 20, include_dashboard=False)
    try:
        files = ray.data.from_items(
            [{"source": str(path), "target": str(output / path.name)} for path in photographs]
        )
        purified = purify_dataset(files, "photo").materialize()
        for status, count in sorted(purified.to_pandas()["status"].value_counts().items()):
            print(f"{count} {status}")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
