"""Training a denoiser by what a classifier makes of its images (HGD, Liao et al. 2018)."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from comdefend.common.atomic import atomic_write
from comdefend.data.sources import load_image_set
from comdefend.errors import InputError
from comdefend.nn.batches import batches
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.denoiser import Denoiser
from comdefend.training.batches import StepSampler, crop_loader, step_generator
from comdefend.training.card import denoiser_card, denoiser_record, measured_images, run_facts
from comdefend.training.descent import Descent
from comdefend.training.objective import perturbed
from comdefend.training.recipe import DenoiserRecipe
from comdefend.training.run import Precision, fit, lightning_precision, open_run
from comdefend.weights.zoo import load_classifier, save_weights


class DenoiserTraining(Descent):
    """Minimises how far denoising leaves a classifier's logits from those of the clean image.

    The mean L1 distance of logits (LGD, Liao et al. 2018, Section 3.3), over clean images and
    attacked versions of the same images. Attacks are made on the classifier alone, in every step
    anew: within a bound and in a number of steps that are drawn for the batch. No labels are
    needed: the attack leads away from what the classifier makes of the clean image.

    Args:
        recipe: Network, attacks and schedule.
        classifier: The guide, in evaluation mode; it is not trained.
    """

    network: Denoiser

    def __init__(self, recipe: DenoiserRecipe, classifier: SmallClassifier) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            network = Denoiser(recipe.network).to(memory_format=torch.channels_last)
        super().__init__(network, recipe.steps, recipe.learning_rate, recipe.bias_rate)
        self.recipe = recipe
        self.classifier = classifier.requires_grad_(False)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Do one step on (B, C, H, W) uint8 images, clean and attacked."""
        recipe = self.recipe
        generator = step_generator(recipe.seed, "attacks", self.step)
        eps = int(torch.randint(1, recipe.attack_eps + 1, (), generator=generator))
        steps = int(torch.randint(1, recipe.attack_steps + 1, (), generator=generator))
        clean = (batch.float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = self.classifier(clean)
        attacked = perturbed(self.classifier, clean, wanted.argmax(1), eps, steps, generator)
        logits = self.classifier(self.network(torch.cat([clean, attacked])))
        on_clean, on_attacked = ((part - wanted).abs().mean() for part in logits.chunk(2))
        loss = (on_clean + on_attacked) / 2
        self.descend(loss)
        self.log_dict({"loss_clean": on_clean, "loss_attacked": on_attacked})
        self.log("loss", loss, prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Measure on images, their attacked versions and labels that were held out."""
        clean, attacked, labels = batch
        wanted = self.classifier(clean)
        for name, images in (("clean", clean), ("attacked", attacked)):
            logits = self.classifier(self.network(images))
            accuracy = (logits.argmax(1) == labels).float().mean()
            self.log_dict(
                {
                    f"validation_loss_{name}": (logits - wanted).abs().mean(),
                    f"validation_accuracy_{name}": accuracy,
                },
                prog_bar=True,
                batch_size=len(labels),
            )


def train_denoiser(recipe: DenoiserRecipe, output: Path, precision: Precision = "auto") -> Path:
    """Train a denoiser and write ``denoiser.safetensors`` and ``denoiser.md`` (its card).

    A run that was stopped, however, goes on from its last checkpoint when called again with the
    same recipe and output, and ends with the weights that an uninterrupted run would have had.

    Args:
        recipe: What to train, on which data, guided by which classifier.
        output: The run's folder; logs and checkpoints go there too.
        precision: ``auto``, ``32`` or ``bf16``.

    Returns:
        The weight file.

    Raises:
        InputError: The folder holds a run of another recipe, the data is too small, or the
            classifier takes other images or tells other classes apart.
        DataMissingError: The data or the classifier is not there.
    """
    lightning_precision(precision)
    channels = recipe.network.channels
    classifier = load_classifier(recipe.classifier)
    data = load_image_set(recipe.data, "train", channels)
    if classifier.config.channels != channels:
        raise InputError(
            f"classifier: {recipe.classifier} takes {classifier.config.channels} channels, the "
            f"recipe's network {channels}"
        )
    if classifier.config.classes < data.class_count:
        raise InputError(
            f"classifier: {recipe.classifier} has {classifier.config.classes} classes, "
            f"{recipe.data} has {data.class_count}"
        )
    if len(data) <= recipe.validation:
        raise InputError(
            f"{recipe.data}: {len(data)} images do not leave any to train on beside "
            f"{recipe.validation} for validation"
        )
    # Only now: a start that fails must not leave a folder that refuses the corrected one.
    open_run(output, recipe)
    held_out, rest = data.hold_out(recipe.validation, recipe.seed)
    training = rest.images
    module = DenoiserTraining(recipe, classifier)
    sampler = StepSampler(
        len(training), recipe.batch, recipe.epoch_steps, recipe.seed, lambda: module.step
    )
    clean = held_out.images.float() / 255
    validation = TensorDataset(clean, _attacked(classifier, clean, recipe), held_out.labels)
    trainer = fit(
        module,
        crop_loader(training, max(training.shape[-2:]), channels, sampler),
        DataLoader(validation, batch_size=64),
        output,
        recipe.epochs,
        [],
        precision,
    )
    test, split = measured_images(recipe.data, channels, held_out)
    denoiser, weights = module.network.eval(), output / "denoiser.safetensors"
    record = denoiser_record(
        denoiser, module.classifier, recipe, test, split, run_facts(training, trainer)
    )
    save_weights(weights, denoiser, record)
    atomic_write(output / "denoiser.md", denoiser_card(record).encode())
    return weights


def _attacked(classifier: SmallClassifier, images: Tensor, recipe: DenoiserRecipe) -> Tensor:
    """Return the hardest that training sees: attacked in all steps, within the largest bound."""
    generator = step_generator(recipe.seed, "validation attacks", 0)
    attack = (float(recipe.attack_eps), recipe.attack_steps, generator)
    found = []
    for part in batches(len(images), 64):
        with torch.no_grad():
            labels = classifier(images[part]).argmax(1)
        found.append(perturbed(classifier, images[part], labels, *attack))
    return torch.cat(found)
