"""A purifier in the Adversarial Robustness Toolbox (ART), attacked by ART through its gradient.

Needs: pip install 'comdefend[art]'
"""

import argparse

import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier

import comdefend
from comdefend.data.shipped import fashion_images
from comdefend.integrations.art import ArtPurifier


def main() -> None:
    """Print the accuracy on clean images, and under two attacks of ART within 8/255."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50)
    count = parser.parse_args().images
    pixels, labels = fashion_images()
    images = (pixels[:: len(pixels) // count].float() / 255).numpy()
    truth = labels[:: len(pixels) // count].numpy()

    def estimator(*defences: ArtPurifier) -> PyTorchClassifier:
        return PyTorchClassifier(
            model=comdefend.load_classifier("fashion-mnist-small"),
            loss=torch.nn.CrossEntropyLoss(),
            input_shape=images.shape[1:],
            nb_classes=10,
            clip_values=(0, 1),
            preprocessing_defences=list(defences),
            device_type="cpu",
        )

    bare, defended = estimator(), estimator(ArtPurifier("gray-2bpp-adversarial"))
    for threat, attacked in (("oblivious", bare), ("adaptive", defended)):
        attack = ProjectedGradientDescent(
            attacked, eps=8 / 255, eps_step=2 / 255, max_iter=10, verbose=False
        )
        found = attack.generate(images, truth)
        accuracy = (defended.predict(found).argmax(1) == truth).mean()
        print(f"{threat} PGD within 8/255: {accuracy:.0%} of {len(images)} images stay right")


if __name__ == "__main__":
    main()
