"""Training a small classifier on clean or purified images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from comdefend.common.store import Store
from comdefend.data.image_set import ImageSet
from comdefend.data.sources import load_image_set
from comdefend.errors import InputError
from comdefend.nn.batches import apply, batches, fingerprint
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.images import to_bytes
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import (
    augment,
    epoch_batch,
    epoch_loader,
    noisy_images,
    step_generator,
)
from comdefend.training.card import table_card
from comdefend.training.descent import Descent, Figures
from comdefend.training.initial import new_classifier
from comdefend.training.kinds import ClassifierRecipe
from comdefend.training.measure import measure_accuracy
from comdefend.training.objective import complement_loss
from comdefend.training.prepared import (
    Finished,
    Prepared,
    count_parameters,
    held_out_count,
    measured_images,
    rounded_to_16_bits,
)
from comdefend.zoo import load, load_classifier, load_record


class ClassifierTraining(Descent):
    """Minimises cross-entropy with label smoothing, on shifted and mirrored images.

    Args:
        recipe: Loss, optimisers, schedule and augmentation.
        classifier: To train.
        steps: Number of steps.
        purifier: In front of it, where images are noisy; None for none.
    """

    network: SmallClassifier
    recipe: ClassifierRecipe
    shown: ClassVar = ("accuracy",)

    def __init__(
        self,
        recipe: ClassifierRecipe,
        classifier: SmallClassifier,
        steps: int,
        purifier: ComDefend | None = None,
    ) -> None:
        super().__init__(recipe, classifier, steps, momentum=0.9)
        self.purifier = None if purifier is None else purifier.requires_grad_(False)

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Figures]:
        """Return the loss of (B, C, H, W) uint8 images and their (B,) labels."""
        (pixels, labels), recipe = batch, self.recipe
        generator = step_generator(recipe.seed, "augmentation", self.step)
        images = augment(
            pixels.float() / 255, generator, recipe.translate, recipe.flip, recipe.cutout
        )
        if recipe.image_noise:
            images = self.noisy(images, step_generator(recipe.seed, "image noise", self.step))
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if recipe.complement:
            loss = loss + complement_loss(logits.float(), labels)
        return loss, {"accuracy": (logits.argmax(1) == labels).float().mean()}

    def noisy(
        self, images: Tensor, generator: torch.Generator, stds: Sequence[float] | None = None
    ) -> Tensor:
        """Put noise on (N, C, H, W) images, of the recipe's sizes or others, and purify them."""
        seen = noisy_images(images, stds or self.recipe.image_noise, generator)
        if self.purifier is None:
            return seen
        with torch.no_grad():
            return self.purifier.eval()(seen)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure the accuracy on training images that were held out, also under noise."""
        pixels, labels = batch
        images = pixels.float() / 255
        self._log_accuracy("validation_accuracy", images, labels)
        for std in self.recipe.image_noise:
            generator = step_generator(self.recipe.seed, f"validation noise {std:g}", batch_idx)
            noisy = self.noisy(images, generator, (std,))
            self._log_accuracy(f"validation_accuracy_noise_{std:g}", noisy, labels)

    def _log_accuracy(self, name: str, images: Tensor, labels: Tensor) -> None:
        hits = self.network(images).argmax(1) == labels
        self.log(name, hits.float().mean(), prog_bar=True, batch_size=len(labels))

    @torch.inference_mode()
    def accuracy_under_noise(self, images: ImageSet, std: float, batch: int = 250) -> float:
        """Return the share of noisy images, purified where there is a purifier, that it gets right.

        Args:
            images: To put noise on, once each.
            std: Standard deviation, for images in [0, 1].
            batch: Images per batch.
        """
        hits = 0
        for number, part in enumerate(batches(len(images), batch)):
            generator = step_generator(self.recipe.seed, f"measured noise {std:g}", number)
            noisy = self.noisy(images.images[part].float() / 255, generator, (std,))
            hits += int((self.network(noisy).argmax(1) == images.labels[part]).sum())
        return hits / len(images)


def prepare(recipe: ClassifierRecipe, output: Path) -> Prepared:
    """Load the data and build the network; see `comdefend.training.run.prepare`."""
    channels = recipe.network.channels
    start, purifier = _start(recipe), _purifier(recipe)
    clean = load_image_set(recipe.data, "train", channels)
    _check_classes(recipe, start, clean)
    count = held_out_count(len(clean), recipe, 2)
    store = Store(output / "purified", {"torch": torch.__version__})
    # Images under noise are purified anew every time; the others once, before training.
    data = clean
    if purifier is not None and not recipe.image_noise:
        data = _purified(clean, purifier, store)
    validation, training = data.hold_out(count, recipe.seed)
    classifier = start or new_classifier(recipe.network, training, recipe.seed)
    steps = len(training) // epoch_batch(len(training), recipe) * recipe.epochs
    module = ClassifierTraining(recipe, classifier, steps, purifier)

    def finish() -> Finished:
        trained = rounded_to_16_bits(module.network.eval())
        held_out, _ = clean.hold_out(count, recipe.seed)
        images, split = measured_images(recipe.data, channels, held_out)
        measured = {
            "start": None if recipe.start is None else load_record(recipe.start),
            "parameters": count_parameters(trained),
            "measured_on": split,
            "images": len(images),
            "accuracy": measure_accuracy(trained, images),
            "accuracy_under_noise": {
                f"{std:g}": module.accuracy_under_noise(images, std) for std in recipe.image_noise
            },
        }
        if purifier is not None:
            purified = _purified(images, purifier, store)
            measured["purified_accuracy"] = measure_accuracy(trained, purified)
        return Finished((trained,), measured)

    return Prepared(
        module=module,
        train=epoch_loader(training, recipe, lambda: module.current_epoch),
        validation=DataLoader(TensorDataset(validation.images, validation.labels), batch_size=200),
        epochs=recipe.epochs,
        images=training.images,
        finish=finish,
    )


def _start(recipe: ClassifierRecipe) -> SmallClassifier | None:
    if recipe.start is None:
        return None
    classifier = load_classifier(recipe.start)
    wanted, given = recipe.network, classifier.config
    if (wanted.channels, wanted.architecture, wanted.widths) != (
        given.channels, given.architecture, given.widths,
    ):  # fmt: skip
        raise InputError(f"start: {recipe.start} has other layers than the recipe's network")
    return classifier.train()


def _purifier(recipe: ClassifierRecipe) -> ComDefend | None:
    if recipe.purifier is None:
        return None
    purifier = load(recipe.purifier)
    if purifier.config.channels != recipe.network.channels:
        raise InputError(
            f"purifier: {recipe.purifier} takes {purifier.config.channels} channels, the "
            f"classifier {recipe.network.channels}"
        )
    return purifier


def _check_classes(recipe: ClassifierRecipe, start: SmallClassifier | None, data: ImageSet) -> None:
    if start is not None and start.config.classes != data.class_count:
        raise InputError(
            f"start: {recipe.start} has {start.config.classes} classes, {recipe.data} has "
            f"{data.class_count}"
        )
    if recipe.complement and data.class_count < 3:
        raise InputError("complement: needs at least three classes, so that two are wrong")


def _purified(data: ImageSet, purifier: ComDefend, store: Store) -> ImageSet:
    """Return the purified images in 8 bits. They are made in parts, once, and kept."""
    purifier = purifier.to("cuda" if torch.cuda.is_available() else "cpu")
    key = {"of": fingerprint(purifier), "data": data.fingerprint()}
    parts = list(batches(len(data), 1000))
    images = []
    for part in track(parts, "purifying", console=Console(stderr=True), transient=True):

        def purify(part: slice = part) -> Tensor:
            return to_bytes(apply(purifier, data.images[part].float() / 255))

        images.append(store.tensor({**key, "start": part.start}, purify))
    return ImageSet(torch.cat(images), data.labels, data.classes)


def card(record: dict[str, Any]) -> str:
    """Return the model card of a record, in Markdown."""
    recipe = record["recipe"]
    # Older records name no architecture: there was only one.
    architecture = recipe["network"].get("architecture", "resnet9")
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "architecture": f"{architecture}, widths {tuple(recipe['network']['widths'])}",
        "parameters": f"{record['parameters']:,}, stored in 16 bits",
        "training": f"{recipe['epochs']} epochs, batches of {recipe['batch']}, "
        f"seed {recipe['seed']}",
        "measured on": f"{record['images']:,} clean images ({record['measured_on']})",
        "accuracy": f"{record['accuracy']:.2%}",
    }
    if start := record.get("start"):
        rows["started from"] = f"`{recipe['start']}`, trained on `{start['recipe']['data']}`"
    if recipe.get("purifier"):
        rows["trained on images purified by"] = f"`{recipe['purifier']}`"
        rows["accuracy on purified images"] = f"{record['purified_accuracy']:.2%}"
    for std, accuracy in record.get("accuracy_under_noise", {}).items():
        rows[f"accuracy under noise {std}"] = f"{accuracy:.2%}"
    if recipe.get("complement"):
        rows["objective"] = "cross-entropy and complement entropy"
    return table_card("Classifier", rows, record)
