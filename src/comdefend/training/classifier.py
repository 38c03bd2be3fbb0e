"""Training the small classifiers that ship with the package."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from comdefend.atomic import atomic_write
from comdefend.data import ImageSet, has_test_split, load_image_set
from comdefend.data.sources import Split, batches
from comdefend.errors import InputError
from comdefend.inference import apply, device_of, fingerprint
from comdefend.nn.classifier import ClassifierConfig, SmallClassifier
from comdefend.nn.zoo import load, load_classifier, save_weights
from comdefend.store import Store
from comdefend.training.batches import step_generator
from comdefend.training.card import classifier_card, classifier_record, run_facts
from comdefend.training.descent import Descent
from comdefend.training.measure import measure_accuracy
from comdefend.training.objective import complement_loss, perturbed
from comdefend.training.recipe import ClassifierRecipe
from comdefend.training.run import Precision, fit, lightning_precision, open_run


class ClassifierTraining(Descent):
    """Cross-entropy with label smoothing on shifted and mirrored images, attacked if so wanted.

    Args:
        recipe: Optimiser, schedule and augmentation.
        network: The architecture, with the training images' mean and standard deviation.
        steps: Steps in all.
    """

    network: SmallClassifier

    def __init__(self, recipe: ClassifierRecipe, network: ClassifierConfig, steps: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            classifier = SmallClassifier(network).to(memory_format=torch.channels_last)
        super().__init__(classifier, steps, recipe.learning_rate, recipe.bias_rate, momentum=0.9)
        self.recipe = recipe

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Do one step on (B, C, H, W) uint8 images and their (B,) labels."""
        pixels, labels = batch
        generator = step_generator(self.recipe.seed, "augmentation", self.step)
        recipe = self.recipe
        images = augment(pixels.float() / 255, recipe, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        if recipe.attack_steps:
            attack = (recipe.attack_eps, recipe.attack_steps, generator)
            images = perturbed(self.network, images, labels, *attack)
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


def augment(images: Tensor, recipe: ClassifierRecipe, generator: torch.Generator) -> Tensor:
    """Shift, mirror and blank images, each in its own way.

    Args:
        images: (B, C, H, W) float.
        recipe: How far to shift, whether to mirror, how much to blank.
        generator: Where random numbers come from.
    """
    count, _, height, width = images.shape
    reach = recipe.translate
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    shifts = torch.randint(0, 2 * reach + 1, (count, 2), generator=generator).tolist()
    cut = torch.rand(count, 2, generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    views = [
        view[:, top : top + height, left : left + width]
        for view, (top, left) in zip(padded, shifts, strict=True)
    ]
    result = torch.stack(views)
    if recipe.flip:
        result = torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), result.flip(-1), result)
    if recipe.cutout:
        rows, columns = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
        top = (cut[:, 0] * (height - recipe.cutout + 1)).long().view(-1, 1, 1)
        left = (cut[:, 1] * (width - recipe.cutout + 1)).long().view(-1, 1, 1)
        inside = (rows >= top) & (rows < top + recipe.cutout)
        inside = inside & (columns >= left) & (columns < left + recipe.cutout)
        result = result.masked_fill(inside.unsqueeze(1).to(images.device), 0.5)
    return result


class EpochSampler(Sampler[list[int]]):
    """Every image once an epoch, in an order that depends on seed and epoch alone.

    Images that do not fill a last batch are left out of the epoch.

    Args:
        count: Number of images.
        batch: Images in a batch.
        seed: Seed of the run.
        epoch: Tells the number of the epoch that begins.
    """

    def __init__(self, count: int, batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self.count, self.batch, self.seed, self.epoch = count, batch, seed, epoch

    def __len__(self) -> int:
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(
            self.count, generator=step_generator(self.seed, "order", self.epoch())
        )
        for index in range(len(self)):
            yield order[index * self.batch : (index + 1) * self.batch].tolist()


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
        InputError: The folder holds a run of another recipe, or the data is too small.
        DataMissingError: The data is not there.
    """
    low = lightning_precision(precision) == "bf16-mixed"
    data = _load(recipe, "train")
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
    if recipe.purifier:
        data = _purified(data, recipe.purifier, store, low)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(recipe.seed))
    validation = data.subset(order[: recipe.validation])
    training = data.subset(order[recipe.validation :])
    network = dataclasses.replace(
        recipe.network,
        classes=data.class_count,
        mean=tuple(_channels(training).mean(1).tolist()),
        std=tuple(_channels(training).std(1).tolist()),
    )
    steps = len(training) // recipe.batch * recipe.epochs
    module = ClassifierTraining(recipe, network, steps)
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
    test, split = original.subset(order[: recipe.validation]), "held out of training"
    if has_test_split(recipe.data):
        test, split = _load(recipe, "test"), "test"
    record = classifier_record(stored, recipe, test, split, run_facts(training.images, trainer))
    if recipe.purifier:
        purified = _purified(test, recipe.purifier, store, low=False)
        record["purified_accuracy"] = measure_accuracy(stored, purified)
    save_weights(weights, stored, record, half=True)
    atomic_write(output / "classifier.md", classifier_card(record).encode())
    return weights


def _load(recipe: ClassifierRecipe, split: Split) -> ImageSet:
    return load_image_set(recipe.data, split, recipe.network.channels)


def _purified(data: ImageSet, weights: str, store: Store, low: bool) -> ImageSet:
    """Return the purified images, as 8-bit files would hold them; made once, in parts.

    In bf16 if ``low``: good enough to train on, and in half the time.
    """
    purifier = load(weights).to("cuda" if torch.cuda.is_available() else "cpu")
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
