"""Training a denoiser by what a classifier makes of its images (HGD, Liao et al. 2018)."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from comdefend.data.image_set import ImageSet
from comdefend.data.sources import load_image_set
from comdefend.defenses.defended import DefendedClassifier
from comdefend.errors import InputError
from comdefend.nn.batches import apply, batches
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.denoiser import Denoiser
from comdefend.nn.metrics import peak_signal_noise_ratio, round_to_8_bits
from comdefend.training.batches import step_generator
from comdefend.training.card import table_card
from comdefend.training.crops import step_loader
from comdefend.training.descent import Descent, Figures
from comdefend.training.initial import seeded
from comdefend.training.kinds import DenoiserRecipe
from comdefend.training.measure import measure_accuracy
from comdefend.training.objective import training_attack
from comdefend.training.prepared import (
    Finished,
    Prepared,
    count_parameters,
    held_out_count,
    measured_images,
)
from comdefend.zoo import load_classifier, load_record


class DenoiserTraining(Descent):
    """Minimises how far denoised images' logits are from those of the clean images.

    The mean L1 distance of logits (LGD, Liao et al. 2018, Section 3.3), over clean images and
    attacked versions of the same images. The attacks are made on the classifier alone, anew in
    every step, with a bound and a number of steps drawn for the batch. No labels are needed: the
    attacks lead away from the class that the classifier gives the clean image.

    Args:
        recipe: Network, attacks and schedule.
        classifier: The guide, in evaluation mode; it is not trained.
    """

    network: Denoiser
    recipe: DenoiserRecipe
    shown: ClassVar = ("loss_clean", "loss_attacked")

    def __init__(self, recipe: DenoiserRecipe, classifier: SmallClassifier) -> None:
        with seeded(recipe.seed):
            network = Denoiser(recipe.network).to(memory_format=torch.channels_last)
        super().__init__(recipe, network, recipe.steps)
        self.classifier = classifier.requires_grad_(False)

    def loss(self, batch: Tensor) -> tuple[Tensor, Figures]:
        """Return the loss of (B, C, H, W) uint8 images, clean and attacked."""
        recipe = self.recipe
        generator = step_generator(recipe.seed, "attacks", self.step)
        eps = int(torch.randint(1, recipe.attack_eps + 1, (), generator=generator))
        steps = int(torch.randint(1, recipe.attack_steps + 1, (), generator=generator))
        clean = (batch.float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = self.classifier(clean)
        attacked = training_attack(self.classifier, clean, wanted.argmax(1), eps, steps, generator)
        logits = self.classifier(self.network(torch.cat([clean, attacked])))
        on_clean, on_attacked = ((part - wanted).abs().mean() for part in logits.chunk(2))
        return (on_clean + on_attacked) / 2, {"loss_clean": on_clean, "loss_attacked": on_attacked}

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Measure on images that were held out, on their attacked versions, with their labels."""
        clean, attacked, labels = batch
        wanted = self.classifier(clean)
        for name, images in (("clean", clean), ("attacked", attacked)):
            logits = self.classifier(self.network(images))
            figures = {
                f"validation_loss_{name}": (logits - wanted).abs().mean(),
                f"validation_accuracy_{name}": (logits.argmax(1) == labels).float().mean(),
            }
            self.log_dict(figures, prog_bar=True, batch_size=len(labels))


def prepare(recipe: DenoiserRecipe, output: Path) -> Prepared:
    """Load the data and build the network; see `comdefend.training.run.prepare`."""
    channels = recipe.network.channels
    classifier = load_classifier(recipe.classifier)
    data = load_image_set(recipe.data, "train", channels)
    _check_guide(recipe, classifier, data)
    count = held_out_count(len(data), recipe)
    held_out, training = data.hold_out(count, recipe.seed)
    module = DenoiserTraining(recipe, classifier)

    def finish() -> Finished:
        denoiser, guide = module.network.eval(), module.classifier
        images, split = measured_images(recipe.data, channels, held_out)
        clean = images.images.float() / 255
        denoised = round_to_8_bits(apply(denoiser, clean))
        defended = DefendedClassifier(denoiser, guide)
        measured = {
            "guide": load_record(recipe.classifier),
            "parameters": count_parameters(denoiser),
            "measured_on": split,
            "images": len(images),
            "psnr": peak_signal_noise_ratio(denoised, clean).item(),
            "accuracy": measure_accuracy(defended, images),
        }
        return Finished((denoiser,), measured)

    clean = held_out.images.float() / 255
    validation = TensorDataset(clean, _attacked(classifier, clean, recipe), held_out.labels)
    whole = max(training.images.shape[-2:])
    return Prepared(
        module=module,
        train=step_loader(training.images, whole, recipe, lambda: module.step),
        validation=DataLoader(validation, batch_size=64),
        epochs=recipe.epochs,
        images=training.images,
        finish=finish,
    )


def _check_guide(recipe: DenoiserRecipe, classifier: SmallClassifier, data: ImageSet) -> None:
    given, channels = classifier.config, recipe.network.channels
    if given.channels != channels:
        raise InputError(
            f"classifier: {recipe.classifier} takes {given.channels} channels, the recipe's "
            f"network {channels}"
        )
    if given.classes < data.class_count:
        raise InputError(
            f"classifier: {recipe.classifier} has {given.classes} classes, {recipe.data} has "
            f"{data.class_count}"
        )


def _attacked(classifier: SmallClassifier, images: Tensor, recipe: DenoiserRecipe) -> Tensor:
    """Return the strongest attacks of training: all steps, within the largest bound."""
    generator = step_generator(recipe.seed, "validation attacks", 0)
    attack = (float(recipe.attack_eps), recipe.attack_steps, generator)
    labels = apply(classifier, images).argmax(1)
    return torch.cat(
        [
            training_attack(classifier, images[part], labels[part], *attack)
            for part in batches(len(images), 64)
        ]
    )


def card(record: dict[str, Any]) -> str:
    """Return the model card of a record, in Markdown."""
    recipe = record["recipe"]
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "architecture": f"Denoiser (HGD), widths {tuple(recipe['network']['widths'])}",
        "parameters": f"{record['parameters']:,}",
        "guided by": f"the logits of `{recipe['classifier']}`",
        "training": f"{recipe['steps']:,} steps of {recipe['batch']} clean and as many attacked "
        f"images, seed {recipe['seed']}",
        "attacks in training": f"1 to {recipe['attack_steps']} steps from a random start, within "
        f"1/255 to {recipe['attack_eps']}/255, on the guide alone",
        "measured on": f"{record['images']:,} clean images ({record['measured_on']})",
        "PSNR": f"{record['psnr']:.2f} dB (mean over images)",
        "accuracy of the guide": f"{record['accuracy']:.2%} on denoised images",
    }
    return table_card("Denoiser", rows, record)
