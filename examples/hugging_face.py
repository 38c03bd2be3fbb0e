"""A data set of Hugging Face evaluated, and the purifier written as a folder of the hub.

Needs: pip install 'comdefend[evaluate,huggingface]'
"""

import argparse
from pathlib import Path

import datasets
from PIL import Image

import comdefend
from comdefend.data.shipped import fashion_images
from comdefend.integrations.huggingface import from_pretrained, save_pretrained


def images_as_dataset() -> datasets.Dataset:
    """Return the images that ship; datasets.load_dataset("...", split="test") is the usual way."""
    pixels, labels = fashion_images()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    images = [Image.fromarray(image[0].numpy()) for image in pixels]
    columns = {"image": images, "label": labels.tolist()}
    return datasets.Dataset.from_dict(columns, features=features)


def main() -> None:
    """Print the evaluation, and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("gray-2bpp-adversarial"))
    asked = parser.parse_args()
    purifier = comdefend.load("gray-2bpp-adversarial")
    evaluation = comdefend.evaluate(
        "fashion-mnist-small",
        data=images_as_dataset(),
        sample=asked.images,
        defenses={"none": None, "gray-2bpp-adversarial": purifier},
        attacks="bim:5",
        eps=8,
        adaptive_steps=5,
    )
    print(evaluation)
    record = comdefend.load_record("gray-2bpp-adversarial")
    save_pretrained(purifier, asked.output, record=record, evaluation=evaluation, license="mit")
    again = from_pretrained(asked.output)
    # huggingface_hub.upload_folder(repo_id="you/name", folder_path=asked.output) publishes it.
    print(f"{asked.output}: {again.config.bpp:g} bits per pixel")


if __name__ == "__main__":
    main()
