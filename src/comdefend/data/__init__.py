"""Data sets by name: ``cifar10``, ``fashion-mnist``, ``parquet:PATH``, ``folder:PATH`` and more."""

from comdefend.data.image_set import ImageSet
from comdefend.data.sources import (
    DATASETS,
    has_test_split,
    load_image_set,
    load_training_images,
)

__all__ = ["DATASETS", "ImageSet", "has_test_split", "load_image_set", "load_training_images"]
