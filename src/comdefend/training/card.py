"""Model cards: what a weight file is, how it came about, and what it measured."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

import comdefend
from comdefend.data.image_set import ImageSet
from comdefend.data.sources import has_test_split, load_image_set
from comdefend.defenses.defended import DefendedClassifier
from comdefend.nn.batches import apply
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.denoiser import Denoiser
from comdefend.nn.metrics import peak_signal_noise_ratio, round_to_8_bits
from comdefend.nn.pixelcnn import PixelCNN
from comdefend.nn.purifier import ComDefend
from comdefend.training.measure import (
    measure_accuracy,
    measure_bits,
    measure_fidelity,
    measure_same_bits,
)
from comdefend.training.recipe import (
    ClassifierRecipe,
    DefenseRecipe,
    DenoiserRecipe,
    PixelCNNRecipe,
    PurifierRecipe,
    recipe_to_dict,
)
from comdefend.weights.zoo import load_record


@dataclass(frozen=True)
class RunFacts:
    """What a run was beside its recipe.

    Attributes:
        training_images: Number of images trained on.
        training_sha256: Of their pixels; None where they were read from files one by one.
        device: Where it ran.
        precision: Lightning's name of it.
        processes: How many trained together.
    """

    training_images: int
    training_sha256: str | None
    device: str
    precision: str
    processes: int


def run_facts(training: Tensor | list[Path], trainer: Trainer) -> RunFacts:
    """Collect the facts of a run that has ended."""
    digest = None
    if isinstance(training, Tensor):
        digest = hashlib.sha256(training.contiguous().numpy().data).hexdigest()
    return RunFacts(
        len(training),
        digest,
        str(trainer.strategy.root_device),
        trainer.precision,
        trainer.world_size,
    )


def measured_images(data: str, channels: int, held_out: ImageSet) -> tuple[ImageSet, str]:
    """Return what to measure a trained network on, and what records call it.

    The data set's test images; those held out of training where it has none.
    """
    if has_test_split(data):
        return load_image_set(data, "test", channels), "test"
    return held_out, "held out of training"


def purifier_record(
    purifier: ComDefend,
    teacher: ComDefend | None,
    recipe: PurifierRecipe,
    validation: Tensor,
    run: RunFacts,
) -> dict[str, Any]:
    """Measure a trained purifier and return its record.

    It is measured on the data set's test images; where the data has none, or images of different
    sizes, on the training images that were held out.
    """
    images, split = validation, "held out of training"
    if has_test_split(recipe.data):
        images, split = load_image_set(recipe.data, "test", recipe.network.channels).images, "test"
    return {
        "recipe": recipe_to_dict(recipe),
        "start": None if recipe.start is None else load_record(recipe.start),
        "same_bits": None if teacher is None else measure_same_bits(purifier, teacher, images),
        "bpp": recipe.network.bpp,
        "parameters": sum(p.numel() for p in purifier.parameters()),
        "measured_on": split,
        "fidelity": measure_fidelity(purifier, images).to_dict(),
        "fidelity_at": {
            f"{bpp:g}": measure_fidelity(purifier.at(bpp), images).to_dict()
            for bpp in purifier.config.bpps[:-1]
        },
        "run": asdict(run),
        "versions": _versions(),
    }


def purifier_card(record: dict[str, Any]) -> str:
    """Return the model card of a purifier's record, in Markdown."""
    recipe, fidelity = record["recipe"], record["fidelity"]
    network, crop, ms_ssim = recipe["network"], recipe["crop"], fidelity["ms_ssim"]
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "bits a pixel": f"{record['bpp']:g} ({network['code_maps']} maps, "
        f"downscale {network['downscale']})",
        "parameters": f"{record['parameters']:,}",
        "training": f"{recipe['steps']:,} steps of {recipe['batch']} crops of {crop}x{crop}, "
        f"seed {recipe['seed']}",
        "started from": _start(record),
        "noise phi, lambda": f"{network['phi']:g}, {recipe['code_weight']:g}",
        "measured on": f"{fidelity['images']:,} images ({record['measured_on']})",
        "PSNR": f"{fidelity['psnr']:.2f} dB (mean over images), "
        f"{fidelity['pooled_psnr']:.2f} dB (of the mean squared error)",
        **{
            f"PSNR at {bpp} bits a pixel": f"{lower['psnr']:.2f} dB"
            for bpp, lower in record.get("fidelity_at", {}).items()
        },
        **_taught(record),
        "SSIM": f"{fidelity['ssim']:.4f}",
        "MS-SSIM": f"{ms_ssim:.4f}" if ms_ssim is not None else "images are too small for it",
        "ones in the code": f"{fidelity['ones']:.1%}",
        "versions": _joined(record["versions"]),
    }
    lines = ["# Purifier", "", *_table(rows)]
    lines += [
        "",
        "How far the logits lie from the threshold:",
        "",
        "| \\|z\\| | share |",
        "| --- | --- |",
    ]
    edges = fidelity["z_edges"]
    for low, high, share in zip(edges, [*edges[1:], None], fidelity["z_shares"], strict=True):
        bound = f"{low} to {high}" if high is not None else f"{low} and more"
        lines.append(f"| {bound} | {share:.2%} |")
    return "\n".join(lines) + "\n"


def _taught(record: dict[str, Any]) -> dict[str, str]:
    if not record["recipe"].get("teacher"):
        return {}
    teacher = record["recipe"]["teacher"]
    return {f"bits that are those of `{teacher}`": f"{record['same_bits']:.2%}"}


def classifier_record(
    classifier: SmallClassifier,
    recipe: ClassifierRecipe,
    images: ImageSet,
    split: str,
    run: RunFacts,
) -> dict[str, Any]:
    """Measure a trained classifier on clean images and return its record."""
    return {
        "recipe": recipe_to_dict(recipe),
        "start": None if recipe.start is None else load_record(recipe.start),
        "parameters": sum(p.numel() for p in classifier.parameters()),
        "measured_on": split,
        "images": len(images),
        "accuracy": measure_accuracy(classifier, images),
        "run": asdict(run),
        "versions": _versions(),
    }


def classifier_card(record: dict[str, Any]) -> str:
    """Return the model card of a classifier's record, in Markdown."""
    recipe = record["recipe"]
    # Weights made before there were several architectures name none.
    architecture = recipe["network"].get("architecture", "resnet9")
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "architecture": f"{architecture}, widths {tuple(recipe['network']['widths'])}",
        "parameters": f"{record['parameters']:,}, stored in 16 bits",
        "training": f"{recipe['epochs']} epochs, batches of {recipe['batch']}, "
        f"seed {recipe['seed']}",
        "measured on": f"{record['images']:,} clean images ({record['measured_on']})",
        "accuracy": f"{record['accuracy']:.2%}",
        "versions": _joined(record["versions"]),
    }
    if start := record.get("start"):
        rows["started from"] = f"`{recipe['start']}`, trained on `{start['recipe']['data']}`"
    if recipe.get("purifier"):
        rows["trained on images purified by"] = f"`{recipe['purifier']}`"
        rows["accuracy on purified images"] = f"{record['purified_accuracy']:.2%}"
    if recipe.get("complement"):
        rows["objective"] = "cross-entropy and complement entropy"
    return "\n".join(["# Classifier", "", *_table(rows)]) + "\n"


def denoiser_record(
    denoiser: Denoiser,
    classifier: SmallClassifier,
    recipe: DenoiserRecipe,
    images: ImageSet,
    split: str,
    run: RunFacts,
) -> dict[str, Any]:
    """Measure a trained denoiser on clean images, alone and before its guide; return its record."""
    clean = images.images.float() / 255
    denoised = round_to_8_bits(apply(denoiser, clean))
    defended = nn.Sequential(denoiser, classifier)
    return {
        "recipe": recipe_to_dict(recipe),
        "guide": load_record(recipe.classifier),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
        "measured_on": split,
        "images": len(images),
        "psnr": peak_signal_noise_ratio(denoised, clean).item(),
        "accuracy": measure_accuracy(defended, images),
        "run": asdict(run),
        "versions": _versions(),
    }


def denoiser_card(record: dict[str, Any]) -> str:
    """Return the model card of a denoiser's record, in Markdown."""
    recipe = record["recipe"]
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "architecture": f"Denoiser (HGD), widths {tuple(recipe['network']['widths'])}",
        "parameters": f"{record['parameters']:,}",
        "guided by": f"the logits of `{recipe['classifier']}`",
        "training": f"{recipe['steps']:,} steps of {recipe['batch']} clean and as many attacked "
        f"images, seed {recipe['seed']}",
        "attacks trained on": f"1 to {recipe['attack_steps']} steps from a random start, within "
        f"1/255 to {recipe['attack_eps']}/255, on the guide alone",
        "measured on": f"{record['images']:,} clean images ({record['measured_on']})",
        "PSNR": f"{record['psnr']:.2f} dB (mean over images)",
        "the guide's accuracy": f"{record['accuracy']:.2%} on denoised images",
        "versions": _joined(record["versions"]),
    }
    return "\n".join(["# Denoiser", "", *_table(rows)]) + "\n"


def pixelcnn_record(
    model: PixelCNN, recipe: PixelCNNRecipe, images: Tensor, split: str, run: RunFacts
) -> dict[str, Any]:
    """Measure a trained model of images on (N, C, H, W) uint8 images and return its record."""
    return {
        "recipe": recipe_to_dict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "reach": model.config.reach,
        "measured_on": split,
        "images": len(images),
        "bits": measure_bits(model, images),
        "run": asdict(run),
        "versions": _versions(),
    }


def pixelcnn_card(record: dict[str, Any]) -> str:
    """Return the model card of the record of a model of images, in Markdown."""
    recipe, (up, left) = record["recipe"], record["reach"]
    network = recipe["network"]
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "architecture": f"PixelCNN, {network['layers']} blocks of width {network['width']}, "
        f"{network['mixtures']} mixtures",
        "looks back": f"{up} rows up, {left} pixels to the left",
        "parameters": f"{record['parameters']:,}",
        "training": f"{recipe['steps']:,} steps of {recipe['batch']} images, seed {recipe['seed']}",
        "PixelDefend moves values by": f"up to {network['eps']}/255",
        "measured on": f"{record['images']:,} images ({record['measured_on']})",
        "bits a dimension": f"{record['bits']:.3f}",
        "versions": _joined(record["versions"]),
    }
    return "\n".join(["# Model of images", "", *_table(rows)]) + "\n"


def defense_record(
    purifier: ComDefend | None,
    classifier: nn.Module,
    robust_accuracy: float,
    recipe: DefenseRecipe,
    images: ImageSet,
    split: str,
    run: RunFacts,
) -> dict[str, Any]:
    """Measure a pair trained against attacks, in evaluation mode, and return its record.

    Args:
        purifier: None where the classifier stands alone.
        classifier: What stands behind it; if it was not trained, any that `open_classifier` opens.
        robust_accuracy: What the pair withstood on held-out images in the epoch that was kept.
        recipe: How it was trained.
        images: To measure on.
        split: Where they come from.
        run: What the run was beside its recipe.
    """
    defended = DefendedClassifier(purifier or nn.Identity().eval(), classifier)
    return {
        "recipe": recipe_to_dict(recipe),
        "start": {
            name: load_record(weights)
            for name, weights, ours in (
                ("purifier", recipe.purifier, recipe.purifier != "none"),
                ("classifier", recipe.classifier, isinstance(classifier, SmallClassifier)),
            )
            if ours
        },
        "bpp": purifier and purifier.config.bpp,
        "parameters": sum(p.numel() for p in defended.parameters()),
        "measured_on": split,
        "images": len(images),
        "accuracy": measure_accuracy(defended, images),
        "fidelity": purifier and measure_fidelity(purifier, images.images).to_dict(),
        "held_out_robust_accuracy": robust_accuracy,
        "run": asdict(run),
        "versions": _versions(),
    }


def defense_card(record: dict[str, Any]) -> str:
    """Return the model card, in Markdown, of the record of what was trained against attacks."""
    recipe, fidelity = record["recipe"], record["fidelity"]
    titles = {
        "both": "Purifier and classifier",
        "purifier": "Purifier trained against attacks",
        "classifier": "Classifier trained against attacks",
    }
    # Without a purifier nothing was rebuilt.
    accuracy = "accuracy of the pair" if fidelity else "accuracy"
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "trained": {"both": "purifier and classifier"}.get(recipe["trained"], recipe["trained"]),
        "started from": f"{_purifier_start(recipe)}, `{recipe['classifier']}`"
        + (", which stays as it is" if recipe["trained"] == "purifier" else ""),
        "training": f"{recipe['epochs']} epochs{_rebuilding_first(recipe)}, batches of "
        f"{recipe['batch']}, seed {recipe['seed']}",
        "against": f"attacks{' through the whole pipeline' if fidelity else ''}, "
        f"{recipe['attack_steps']} step{'s' * (recipe['attack_steps'] > 1)} from a random start, "
        f"within {recipe['attack_eps']:g}/255",
        "parameters": f"{record['parameters']:,}"
        + (", the classifier's included" if recipe["trained"] == "purifier" else ""),
        "measured on": f"{record['images']:,} clean images ({record['measured_on']})",
        accuracy: f"{record['accuracy']:.2%}",
    }
    if fidelity:
        stand_ins = ", ".join(recipe.get("stand_ins", ["identity"]))
        rows["against"] += f"; for the threshold's gradient, by turns: {stand_ins}"
        # Records made before there was a choice have no such entry.
        if not recipe.get("noisy", True):
            rows["code of attacked images"] = "the hard one, without noise"
        rows["bits a pixel"] = f"{record['bpp']:g}"
        rows["PSNR"] = f"{fidelity['psnr']:.2f} dB (mean over images)"
    rows[
        "of held-out training images, right and still right under the attack that chose the epoch"
    ] = f"{record['held_out_robust_accuracy']:.2%}"
    rows["versions"] = _joined(record["versions"])
    return "\n".join([f"# {titles[recipe['trained']]}", "", *_table(rows)]) + "\n"


def _rebuilding_first(recipe: dict[str, Any]) -> str:
    epochs = recipe.get("clean_epochs")
    return f" (of them {epochs} to rebuild clean images)" if epochs else ""


def _start(record: dict[str, Any]) -> str:
    # Weights made before recipes had a start have no such entry.
    start = record.get("start")
    if start is None:
        return "orthogonal filters"
    recipe = start["recipe"]
    return f"`{record['recipe']['start']}`: {recipe['steps']:,} steps on `{recipe['data']}`"


def _purifier_start(recipe: dict[str, Any]) -> str:
    if recipe.get("network"):
        return "a new purifier"
    return "no purifier" if recipe["purifier"] == "none" else f"`{recipe['purifier']}`"


def _table(rows: dict[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]


def _joined(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _versions() -> dict[str, str]:
    return {"comdefend": comdefend.__version__, "torch": torch.__version__}
