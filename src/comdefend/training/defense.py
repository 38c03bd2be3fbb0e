"""Training a purifier, the classifier behind it, or both, against attacks through both."""

import warnings
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from comdefend.classifiers import check_classifier, match_to_classifier, open_classifier
from comdefend.data.image_set import ImageSet
from comdefend.data.sources import load_image_set
from comdefend.defenses.defended import DefendedClassifier
from comdefend.errors import InputError
from comdefend.nn.classifier import ClassifierConfig, SmallClassifier
from comdefend.nn.network import Network
from comdefend.nn.purifier import ComDefend
from comdefend.training.adversarial import AdversarialTraining
from comdefend.training.batches import epoch_batch, epoch_loader
from comdefend.training.card import classifier_name, counted, table_card
from comdefend.training.initial import new_classifier, new_purifier
from comdefend.training.kinds import DefenseRecipe
from comdefend.training.measure import measure_accuracy, measure_fidelity
from comdefend.training.prepared import (
    Finished,
    Prepared,
    count_parameters,
    held_out_count,
    measured_images,
    rounded_to_16_bits,
)
from comdefend.zoo import load, load_classifier, load_record


def prepare(recipe: DefenseRecipe, output: Path) -> Prepared:
    """Load data and networks; see `comdefend.training.run.prepare`."""
    purifier, opened = _purifier(recipe), _classifier(recipe)
    channels = _channels(recipe, purifier, opened)
    data = load_image_set(recipe.data, "train", channels)
    classes = _class_count(opened, data)
    data = _numbered(recipe, data, classes)
    count = held_out_count(len(data), recipe, 2)
    held_out, training = data.hold_out(count, recipe.seed)
    classifier = _fitting(recipe, opened, training)
    steps = len(training) // epoch_batch(len(training), recipe) * recipe.epochs
    module = AdversarialTraining(recipe, purifier, classifier, steps)
    validation = TensorDataset(held_out.images, held_out.labels)

    def finish() -> Finished:
        measured, split = measured_images(recipe.data, channels, held_out)
        if measured is not held_out:
            measured = _numbered(recipe, measured, classes)
        return _finished(module, measured, split)

    return Prepared(
        module=module,
        train=epoch_loader(training, recipe, lambda: module.current_epoch),
        validation=DataLoader(validation, batch_size=min(100, recipe.batch)),
        epochs=recipe.epochs,
        images=training.images,
        finish=finish,
    )


def _purifier(recipe: DefenseRecipe) -> ComDefend | None:
    if recipe.network is not None:
        return new_purifier(recipe.network, recipe.seed)
    return None if recipe.purifier == "none" else load(recipe.purifier)


def _classifier(recipe: DefenseRecipe) -> nn.Module | None:
    """Return the classifier to start from, or None for a new one."""
    # A classifier that is not trained may be any.
    if recipe.kept is not None:
        return open_classifier(recipe.kept, warnings.warn)
    return None if recipe.opened is None else load_classifier(recipe.opened.name)


def _channels(
    recipe: DefenseRecipe, purifier: ComDefend | None, classifier: nn.Module | None
) -> int:
    known = [] if purifier is None else [purifier.config.channels]
    if isinstance(recipe.classifier, ClassifierConfig):
        known.append(recipe.classifier.channels)
    elif isinstance(classifier, SmallClassifier):
        known.append(classifier.config.channels)
    if len(set(known)) > 1:
        raise InputError(f"the purifier takes {known[0]} channels, the classifier {known[1]}")
    return known[0]


def _class_count(classifier: nn.Module | None, data: ImageSet) -> int | None:
    """Return the number of classes of a classifier that is there already."""
    if classifier is None:
        return None
    images = data.images[:2].float() / 255
    return check_classifier(classifier, images, data.labels.new_zeros(len(images)))


def _numbered(recipe: DefenseRecipe, data: ImageSet, classes: int | None) -> ImageSet:
    """Return data with its labels numbered as the classifier does, where that is there already."""
    if classes is None or recipe.opened is None:
        return data
    return match_to_classifier(data, recipe.opened, classes, recipe.data)


def _fitting(recipe: DefenseRecipe, classifier: nn.Module | None, training: ImageSet) -> nn.Module:
    """Return the classifier, a new one if there is none yet, checked against the data."""
    if classifier is None:
        assert isinstance(recipe.classifier, ClassifierConfig)
        return new_classifier(recipe.classifier, training, recipe.seed)
    images, labels = training.images[:2].float() / 255, training.labels[:2]
    classes = check_classifier(classifier, images, labels)
    if training.class_count > classes:
        assert recipe.opened is not None
        raise InputError(
            f"classifier: {recipe.opened.name} has {classes} classes, {recipe.data} has "
            f"{training.class_count}"
        )
    return classifier


def _finished(module: AdversarialTraining, images: ImageSet, split: str) -> Finished:
    recipe, best = module.recipe, module.best.eval()
    networks: list[Network] = []
    # A classifier that is not trained is not written.
    classifier = module.network.classifier
    if recipe.trained != "purifier":
        assert isinstance(best.classifier, SmallClassifier)
        classifier = rounded_to_16_bits(best.classifier)
        networks.append(classifier)
    purifier = best.purifier if isinstance(best.purifier, ComDefend) else None
    if purifier is not None:
        networks.append(purifier)
    defended = DefendedClassifier(best.purifier, classifier).eval()
    fidelity = None if purifier is None else measure_fidelity(purifier, images.images).to_dict()
    measured = {
        "start": _start_records(recipe, classifier),
        "bpp": purifier and purifier.config.bpp,
        "parameters": count_parameters(defended),
        "measured_on": split,
        "images": len(images),
        "accuracy": measure_accuracy(defended, images),
        "fidelity": fidelity,
        "held_out_robust_accuracy": module.best_accuracy.item(),
    }
    return Finished(tuple(networks), measured)


def _start_records(recipe: DefenseRecipe, classifier: nn.Module) -> dict[str, Any]:
    """Return the records of our weights that the training started from."""
    records = {}
    if recipe.purifier != "none":
        records["purifier"] = load_record(recipe.purifier)
    if recipe.opened is not None and isinstance(classifier, SmallClassifier):
        records["classifier"] = load_record(recipe.opened.name)
    return records


_TITLES = {
    "both": "Purifier and classifier",
    "purifier": "Purifier trained against attacks",
    "classifier": "Classifier trained against attacks",
}


def card(record: dict[str, Any]) -> str:
    """Return the model card of a record, in Markdown."""
    recipe, fidelity = record["recipe"], record["fidelity"]
    kept = recipe["trained"] == "purifier"
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "trained": {"both": "purifier and classifier"}.get(recipe["trained"], recipe["trained"]),
        "started from": f"{_purifier_start(recipe)}, {_classifier_start(recipe)}"
        + (", which stays as it is" if kept else ""),
        "training": f"{counted(recipe['epochs'], 'epoch')}{_clean_epochs(recipe)}, batches of "
        f"{recipe['batch']}, seed {recipe['seed']}",
        "against": f"attacks{' through the whole pipeline' if fidelity else ''}, "
        f"{counted(recipe['attack_steps'], 'step')} from a random start, within "
        f"{recipe['attack_eps']:g}/255",
        "parameters": f"{record['parameters']:,}" + (", with the classifier" if kept else ""),
        "measured on": f"{record['images']:,} clean images ({record['measured_on']})",
        f"accuracy{' of the pair' if fidelity else ''}": f"{record['accuracy']:.2%}",
    }
    if fidelity:
        # Older records have no entry for what could not be chosen yet.
        stand_ins = ", ".join(recipe.get("stand_ins", ["identity"]))
        rows["against"] += f"; stand-ins for the threshold's gradient: {stand_ins}"
        if not recipe.get("noisy", True):
            rows["code of attacked images"] = "hard, without noise"
        rows["bits per pixel"] = f"{record['bpp']:g}"
        rows["PSNR"] = f"{fidelity['psnr']:.2f} dB (mean over images)"
    robust = "accuracy on held-out training images under the attack that chose the epoch"
    rows[robust] = f"{record['held_out_robust_accuracy']:.2%}"
    return table_card(_TITLES[recipe["trained"]], rows, record)


def _clean_epochs(recipe: dict[str, Any]) -> str:
    epochs = recipe.get("clean_epochs")
    return f" ({epochs} of them to rebuild clean images)" if epochs else ""


def _purifier_start(recipe: dict[str, Any]) -> str:
    if recipe.get("network"):
        return "a new purifier"
    return "no purifier" if recipe["purifier"] == "none" else f"`{recipe['purifier']}`"


def _classifier_start(recipe: dict[str, Any]) -> str:
    name = classifier_name(recipe["classifier"])
    return "a new classifier" if name is None else f"`{name}`"
