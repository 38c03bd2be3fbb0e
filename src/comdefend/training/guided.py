"""Training a purifier by what classifiers make of its images; no labels are needed."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from comdefend.attacks import hard_code, with_stand_in
from comdefend.classifiers import open_classifier
from comdefend.classifiers.folding import folded
from comdefend.data.sources import load_training_images
from comdefend.defenses.defended import DefendedClassifier
from comdefend.errors import InputError
from comdefend.nn.batches import apply, batches
from comdefend.nn.binarize import noisy_threshold
from comdefend.nn.images import to_bytes
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import noisy_images, step_generator
from comdefend.training.card import classifier_name, counted, table_card
from comdefend.training.crops import split_images, step_loader
from comdefend.training.descent import Descent, Figures
from comdefend.training.initial import filter_groups
from comdefend.training.kinds import GuidedRecipe
from comdefend.training.measure import measure_fidelity
from comdefend.training.objective import LEAST_EPS, divergences, ramped, training_attack
from comdefend.training.panel import ReconstructionPanel
from comdefend.training.prepared import Finished, Prepared, count_parameters
from comdefend.zoo import load, load_record

_PANEL_IMAGES = 6
_BATCH = 16
# Of the attacks on held-out images: more than in training, whose single steps are weak.
_VALIDATION_STEPS = 5


class GuidedTraining(Descent):
    """Minimises how far answers to purified images are from those to the clean images.

    The Kullback-Leibler divergence of a frozen classifier's answers, over clean images and attacked
    versions of the same images, beside the squared error. Attacks lead away from the class that the
    classifier gives the clean image, with a bound drawn for each step. They are made on the
    classifier alone or through the purifier, with the stand-ins for its gradient in turn. Unlike
    HGD (Liao et al. 2018) the purifier has a binary code in the middle.

    Args:
        recipe: Losses, attacks and schedule.
        purifier: To start from.
        guides: Images in [0, 1] to logits, in evaluation mode; they are not trained.
    """

    network: ComDefend
    recipe: GuidedRecipe
    shown: ClassVar = ("divergence_clean", "divergence_attacked")

    def __init__(self, recipe: GuidedRecipe, purifier: ComDefend, guides: list[nn.Module]) -> None:
        super().__init__(recipe, purifier, recipe.steps, decay=0.7)
        self.guides = nn.ModuleList(guides).requires_grad_(False)

    def loss(self, batch: Tensor) -> tuple[Tensor, Figures]:
        """Return the loss of (B, C, h, w) uint8 crops, clean and attacked."""
        recipe, bpps = self.recipe, self.network.config.bpps
        generator = step_generator(recipe.seed, "attacks", self.step)
        guide = self.guides[self.step % len(self.guides)]
        turn = recipe.stand_ins[self.step % len(recipe.stand_ins)]
        bpp = bpps[int(torch.randint(len(bpps), (), generator=generator))]
        clean = (batch.float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = guide(clean)
        images = clean
        if recipe.attack != "none":
            target = guide
            if recipe.attack == "pipeline":
                self.network.eval()
                target = DefendedClassifier(with_stand_in(self.network.at(bpp), turn), guide)
            attacked = self._attacked(target, clean, wanted.argmax(1), generator)
            images = torch.cat([clean, attacked])
        seen = images
        if stds := recipe.image_noise:
            noise = step_generator(recipe.seed, "image noise", self.step)
            seen = noisy_images(images, stds, noise)
        purified = self._purified(seen, bpp, turn, generator)
        parts = divergences(guide(purified), wanted.repeat(len(images) // len(clean), 1))
        error = (purified - clean.repeat(len(images) // len(clean), 1, 1, 1)).square().mean()
        divergence = on_clean = parts[: len(clean)].mean()
        figures: Figures = {
            "divergence_clean": on_clean,
            "squared_error": error,
            "lr": recipe.learning_rate * self.schedule(self.step),
        }
        if recipe.attack != "none":
            figures["divergence_attacked"] = on_attacked = parts[len(clean) :].mean()
            divergence = torch.lerp(on_attacked, on_clean, recipe.clean_share)
        return divergence + recipe.rebuilding * error, figures

    def _attacked(
        self, target: nn.Module, clean: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        recipe = self.recipe
        most = ramped(recipe.attack_eps, recipe.attack_ramp, (self.step + 1) / recipe.steps)
        least = min(LEAST_EPS, recipe.attack_eps)
        eps = least + float(torch.rand((), generator=generator)) * max(0.0, most - least)
        return training_attack(
            target, clean, labels, eps, recipe.attack_steps, generator
        ).contiguous(memory_format=torch.channels_last)

    def _purified(
        self, images: Tensor, bpp: float, turn: str, generator: torch.Generator
    ) -> Tensor:
        """Purify at a rate, with the hard code.

        Backwards it counts as the noisy sigmoid; where the pipeline is attacked, as the stand-in
        that the attack used.
        """
        network = self.network
        logits = network.logits(images)
        if not network.config.binary:
            code = network.binarize(logits)
        elif self.recipe.attack == "pipeline":
            code = hard_code(logits, turn, network.config.phi)
        else:
            noise = torch.randn(logits.shape, generator=generator).to(logits)
            code = noisy_threshold(logits, network.config.phi * noise)
        maps = round(bpp * network.config.downscale**2)
        kept = torch.arange(network.config.code_maps, device=code.device) < maps
        code = code * kept.view(1, -1, 1, 1)
        return network.decode(code, size=(images.shape[-2], images.shape[-1]))

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Measure how many answers stay what they were, on images that were held out."""
        clean, attacked, wanted = batch
        defended = DefendedClassifier(self.network, self.guides[0])
        if self.recipe.attack == "pipeline":
            generator = step_generator(self.recipe.seed, "validation", batch_idx)
            attack = (self.recipe.attack_eps, _VALIDATION_STEPS, generator)
            attacked = training_attack(defended, clean, wanted.argmax(1), *attack)
        for name, images in (("clean", clean), ("attacked", attacked), *self.noisy(clean)):
            answers = defended(images)
            figures = {
                f"validation_divergence_{name}": divergences(answers, wanted).mean(),
                f"validation_same_{name}": _same(answers, wanted),
            }
            self.log_dict(figures, prog_bar=True, batch_size=len(clean))

    def noisy(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (N, C, H, W) images under each noise of the recipe, with a name for it."""
        for std in self.recipe.image_noise:
            generator = step_generator(self.recipe.seed, f"measured noise {std:g}", 0)
            yield f"noise_{std:g}", noisy_images(images, (std,), generator)

    def filter_groups(self) -> list[dict[str, Any]]:
        """Return the filters to train; the one that makes the logits has its own learning rate."""
        return filter_groups(self.network, self.recipe.learning_rate * self.recipe.logit_rate)


def _same(answers: Tensor, wanted: Tensor) -> Tensor:
    return (answers.argmax(1) == wanted.argmax(1)).float().mean()


def prepare(recipe: GuidedRecipe, output: Path) -> Prepared:
    """Load data and networks; see `comdefend.training.run.prepare`."""
    purifier = _started(recipe)
    start = {name: values.clone() for name, values in purifier.state_dict().items()}
    channels = purifier.config.channels
    classifiers = [open_classifier(spec, warnings.warn) for spec in recipe.classifiers]
    images = load_training_images(recipe.data, channels)
    held_out, training = split_images(images, recipe, channels, recipe.crop, output)
    some = held_out[:2].float() / 255
    guides = [folded(classifier, some) for classifier in classifiers]
    module = GuidedTraining(recipe, purifier.to(memory_format=torch.channels_last), guides)
    validation = _validation(module, held_out)

    def finish() -> Finished:
        for name, trained in purifier.state_dict().items():
            trained.lerp_(start[name].to(trained), recipe.start_share)
        return Finished((purifier.eval(),), _measured(module, validation))

    return Prepared(
        module=module,
        train=step_loader(training, recipe.crop, recipe, lambda: module.step),
        validation=DataLoader(validation, batch_size=_BATCH),
        epochs=recipe.epochs,
        images=training if isinstance(training, Tensor) else training.paths,
        finish=finish,
        callbacks=(ReconstructionPanel(held_out[:_PANEL_IMAGES], output),),
    )


def _started(recipe: GuidedRecipe) -> ComDefend:
    given = load(recipe.start)
    if unknown := set(recipe.rates) - set(given.config.rates):
        raise InputError(
            f"rates: {recipe.start} was not trained at {sorted(unknown)} maps, only at "
            f"{[*given.config.rates, given.config.code_maps]}"
        )
    purifier = ComDefend(replace(given.config, rates=recipe.rates))
    purifier.load_state_dict(given.state_dict())
    return purifier


def _validation(module: GuidedTraining, held_out: Tensor) -> TensorDataset:
    """Return clean images, attacked ones, and the first guide's answers to the clean ones.

    The attacks are on the guide alone, within the largest bound.
    """
    recipe, guide = module.recipe, module.guides[0]
    clean = held_out.float() / 255
    wanted = apply(guide, clean, _BATCH)
    generator = step_generator(recipe.seed, "validation attacks", 0)
    attack = (recipe.attack_eps, _VALIDATION_STEPS, generator)
    attacked = [
        training_attack(guide, clean[part], wanted[part].argmax(1), *attack)
        for part in batches(len(clean), _BATCH)
    ]
    return TensorDataset(clean, torch.cat(attacked), wanted)


def _measured(module: GuidedTraining, validation: TensorDataset) -> dict[str, Any]:
    purifier = module.network.eval()
    clean, attacked, wanted = validation.tensors
    same, fidelity = {}, {}
    for bpp in purifier.config.bpps:
        rate = purifier.at(bpp)
        defended = DefendedClassifier(rate, module.guides[0])
        same[f"{bpp:g}"] = {
            name: _same(apply(defended, images, _BATCH), wanted).item()
            for name, images in (("clean", clean), ("attacked", attacked), *module.noisy(clean))
        }
        fidelity[f"{bpp:g}"] = measure_fidelity(rate, to_bytes(clean)).to_dict()
    return {
        "start": load_record(module.recipe.start),
        "bpp": purifier.config.bpp,
        "parameters": count_parameters(purifier),
        "measured_on": "held out of training",
        "images": len(clean),
        "same": same,
        "fidelity": fidelity.pop(f"{purifier.config.bpp:g}"),
        "fidelity_at": fidelity,
    }


_ATTACKS = {
    "classifier": "on the guide alone",
    "pipeline": "through purifier and guide",
    "none": "none",
}


def card(record: dict[str, Any]) -> str:
    """Return the model card of a record, in Markdown."""
    recipe = record["recipe"]
    attacks = _ATTACKS[recipe["attack"]]
    if recipe["attack"] != "none":
        attacks += (
            f", {counted(recipe['attack_steps'], 'step')} from a random start, within at most "
            f"{recipe['attack_eps']:g}/255"
        )
    if recipe["attack"] == "pipeline":
        attacks += f"; stand-ins for the threshold's gradient: {', '.join(recipe['stand_ins'])}"
    rows = {
        "data": f"`{recipe['data']}`, without labels",
        "parameters": f"{record['parameters']:,}",
        "started from": f"`{recipe['start']}`",
        "guided by": ", ".join(f"`{classifier_name(spec)}`" for spec in recipe["classifiers"]),
        "training": f"{recipe['steps']:,} steps of {recipe['batch']} crops of "
        f"{recipe['crop']}x{recipe['crop']}, seed {recipe['seed']}",
        # Older records have no such share.
        "share of the start in the weights": f"{recipe.get('start_share', 0):g}",
        "attacks in training": attacks,
        "measured on": f"{record['images']:,} images ({record['measured_on']})",
    }
    fidelity = record["fidelity_at"] | {f"{record['bpp']:g}": record["fidelity"]}
    for bpp, same in record["same"].items():
        rows[f"at {bpp} bits per pixel"] = (
            f"{same['clean']:.0%} of the first guide's answers stay, {same['attacked']:.0%} on "
            f"images attacked on the guide alone within {recipe['attack_eps']:g}/255"
            + "".join(
                f", {same[f'noise_{std:g}']:.0%} under noise {std:g}"
                for std in recipe.get("image_noise", ())
            )
            + f"; PSNR {fidelity[bpp]['psnr']:.2f} dB"
        )
    return table_card("Purifier guided by a classifier", rows, record)
