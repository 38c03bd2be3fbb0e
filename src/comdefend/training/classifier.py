"""Training the small classifiers that ship with the package."""

from pathlib import Path

import msgspec
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from comdefend.common.atomic import atomic_write
from comdefend.common.store import Store
from comdefend.data.image_set import ImageSet
from comdefend.data.sources import load_image_set
from comdefend.errors import InputError
from comdefend.nn.batches import apply, batches, device_of, fingerprint
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import EpochSampler, augment, step_generator
from comdefend.training.card import classifier_card, classifier_record, measured_images, run_facts
from comdefend.training.descent import Descent
from comdefend.training.measure import measure_accuracy
from comdefend.training.objective import complement_loss
from comdefend.training.recipe import ClassifierRecipe
from comdefend.training.run import Precision, fit, lightning_precision, open_run
from comdefend.weights.zoo import load, load_classifier, save_weights


class ClassifierTraining(Descent):
    """Cross-entropy with label smoothing on shifted and mirrored images, attacked if so wanted.

    Args:
        recipe: Optimiser, schedule and augmentation.
        classifier: To train.
        steps: Steps in all.
    """

    network: SmallClassifier

    def __init__(self, recipe: ClassifierRecipe, classifier: SmallClassifier, steps: int) -> None:
        super().__init__(classifier, steps, recipe.learning_rate, recipe.bias_rate, momentum=0.9)
        self.recipe = recipe

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Do one step on (B, C, H, W) uint8 images and their (B,) labels."""
        pixels, labels = batch
        generator = step_generator(self.recipe.seed, "augmentation", self.step)
        recipe = self.recipe
        images = augment(
            pixels.float() / 255, generator, recipe.translate, recipe.flip, recipe.cutout
        )
        images = images.contiguous(memory_format=torch.channels_last)
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if recipe.complement:
            loss = loss + complement_loss(logits.float(), labels)
        self.descend(loss)
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log_dict({"loss": loss, "accuracy": accuracy}, prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure the accuracy on training images that were held out."""
        pixels, labels = batch
        hits = self.network(pixels.float() / 255).argmax(1) == labels
        self.log("validation_accuracy", hits.float().mean(), prog_bar=True, batch_size=len(labels))


def train_classifier(recipe: ClassifierRecipe, output: Path, precision: Precision = "auto") -> Path:
    """Train a classifier and write ``classifier.safetensors`` and ``classifier.md`` (its card).

    A run that was stopped, however, goes on from its last checkpoint when called again with the
    same recipe and output.

    Args:
        recipe: What to train, on which data.
        output: The run's folder; logs and checkpoints go there too.
        precision: ``auto``, ``32`` or ``bf16``.

    Returns:
        The weight file. Floats are stored in 16 bits; the record's accuracy is of the stored ones.

    Raises:
        InputError: The folder holds a run of another recipe, the data is too small, the purifier
            is unknown or takes other channels, or the start has other layers or classes.
        DataMissingError: The data or the weights are not there.
    """
    low = lightning_precision(precision) == "bf16-mixed"
    start = _start(recipe)
    purifier = load(recipe.purifier) if recipe.purifier else None
    channels = recipe.network.channels
    if purifier is not None and purifier.config.channels != channels:
        raise InputError(
            f"{recipe.purifier} takes {purifier.config.channels} channels, the classifier "
            f"{channels}"
        )
    data = load_image_set(recipe.data, "train", channels)
    if start is not None and start.config.classes != data.class_count:
        raise InputError(
            f"start: {recipe.start} has {start.config.classes} classes, {recipe.data} "
            f"{data.class_count}"
        )
    if recipe.complement and data.class_count < 3:
        raise InputError("complement: needs three classes, so that two are wrong")
    if len(data) < recipe.validation + recipe.batch:
        raise InputError(
            f"{recipe.data}: {len(data)} images are too few for {recipe.validation} to validate "
            f"on and batches of {recipe.batch}"
        )
    # Only now: a start that fails must not leave a folder that refuses the corrected one.
    open_run(output, recipe)
    store = Store(output / "purified", {"torch": torch.__version__})
    original = data
    if purifier is not None:
        data = _purified(data, purifier, store, low)
    validation, training = data.hold_out(recipe.validation, recipe.seed)
    steps = len(training) // recipe.batch * recipe.epochs
    module = ClassifierTraining(recipe, start or _initial(recipe, training), steps)
    sampler = EpochSampler(
        len(training), recipe.batch, recipe.seed, epoch=lambda: module.current_epoch
    )
    trainer = fit(
        module,
        DataLoader(TensorDataset(training.images, training.labels), batch_sampler=sampler),
        DataLoader(TensorDataset(validation.images, validation.labels), batch_size=200),
        output,
        recipe.epochs,
        [],
        precision,
    )
    weights = output / "classifier.safetensors"
    save_weights(weights, module.network, {}, half=True)
    stored = load_classifier(str(weights))
    held_out, _ = original.hold_out(recipe.validation, recipe.seed)
    test, split = measured_images(recipe.data, channels, held_out)
    record = classifier_record(stored, recipe, test, split, run_facts(training.images, trainer))
    if purifier is not None:
        purified = _purified(test, purifier, store, low=False)
        record["purified_accuracy"] = measure_accuracy(stored, purified)
    save_weights(weights, stored, record, half=True)
    atomic_write(output / "classifier.md", classifier_card(record).encode())
    return weights


def _start(recipe: ClassifierRecipe) -> SmallClassifier | None:
    if recipe.start is None:
        return None
    classifier = load_classifier(recipe.start)
    wanted, given = recipe.network, classifier.config
    if (wanted.channels, wanted.architecture, wanted.widths) != (
        given.channels,
        given.architecture,
        given.widths,
    ):
        raise InputError(f"start: {recipe.start} has other layers than the recipe's network")
    return classifier.train()


def _initial(recipe: ClassifierRecipe, training: ImageSet) -> SmallClassifier:
    """Return a classifier that knows nothing but how to normalise the training images."""
    channels = _channels(training)
    network = msgspec.structs.replace(
        recipe.network,
        classes=training.class_count,
        mean=tuple(channels.mean(1).tolist()),
        std=tuple(channels.std(1).tolist()),
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return SmallClassifier(network)


def _purified(data: ImageSet, purifier: ComDefend, store: Store, low: bool) -> ImageSet:
    """Return the purified images, as 8-bit files would hold them; made once, in parts.

    In bf16 if ``low``: good enough to train on, and in half the time.
    """
    purifier = purifier.to("cuda" if torch.cuda.is_available() else "cpu")
    key = {"of": fingerprint(purifier), "data": data.fingerprint(), "low": low}
    in_low = torch.autocast(device_of(purifier).type, torch.bfloat16, enabled=low)
    parts = list(batches(len(data), 1000))
    images = []
    for part in track(parts, "purifying", console=Console(stderr=True), transient=True):
        clean = data.images[part].float() / 255
        purify = lambda clean=clean: (apply(purifier, clean).float() * 255).round().byte()  # noqa: E731
        with in_low:
            images.append(store.tensor({**key, "start": part.start}, purify))
    return ImageSet(torch.cat(images), data.labels, data.classes)


def _channels(images: ImageSet) -> Tensor:
    """Return the pixels of each channel, (C, pixels) in [0, 1]."""
    pixels = images.images[:: max(1, len(images) // 5000)].float() / 255
    return pixels.transpose(0, 1).flatten(1)
