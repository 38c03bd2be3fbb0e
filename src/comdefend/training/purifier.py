"""Training a purifier: encoder and decoder together, on clean images only."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from msgspec.structs import replace
from torch import Tensor
from torch.utils.data import DataLoader

from comdefend.common.processor import native_bf16
from comdefend.data.sources import load_image_set, load_training_images, name_test_split
from comdefend.errors import InputError
from comdefend.nn.binarize import drawn_maps, noisy_threshold, threshold
from comdefend.nn.loss import PurifierLoss, purifier_loss, taught_loss
from comdefend.nn.metrics import peak_signal_noise_ratio, pooled_psnr, round_to_8_bits
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import noisy_images, process_share, step_generator
from comdefend.training.card import table_card
from comdefend.training.crops import split_images, step_loader
from comdefend.training.descent import Descent, Figures
from comdefend.training.initial import filter_groups, new_purifier
from comdefend.training.kinds import PurifierRecipe
from comdefend.training.measure import measure_denoising, measure_fidelity, measure_same_bits
from comdefend.training.panel import ReconstructionPanel
from comdefend.training.prepared import Finished, Prepared, count_parameters
from comdefend.zoo import load, load_record

_PANEL_IMAGES = 12


class PurifierTraining(Descent):
    """Minimises `purifier_loss` with noise before the binarisation (Jia et al. 2019, Section 3).

    With a teacher it minimises `taught_loss` instead.

    Args:
        recipe: Network, loss, optimisers and schedule.

    Raises:
        InputError: The start or the teacher does not fit the network.
        DataMissingError: Their weights do not exist.
    """

    network: ComDefend
    recipe: PurifierRecipe
    shown: ClassVar = ("training_psnr", "same_bits")

    def __init__(self, recipe: PurifierRecipe) -> None:
        super().__init__(
            recipe,
            new_purifier(recipe.network, recipe.seed) if recipe.start is None else _started(recipe),
            recipe.steps,
            weight_decay=recipe.weight_decay,
            decay=0.7,
        )
        self.teacher = None if recipe.teacher is None else _teacher(recipe)

    def loss(self, batch: Tensor) -> tuple[Tensor, Figures]:
        """Return the loss of (B, C, h, w) uint8 crops, and figures to log."""
        images = (batch.float() / 255).contiguous(memory_format=torch.channels_last)
        seen = images
        if stds := self.recipe.image_noise:
            generator = step_generator(self.recipe.seed, "image noise", self.step)
            seen = noisy_images(images, stds, generator, process_share())
        logits = self.network.logits(seen)
        if self.recipe.hard and self.network.config.binary:
            noise = self.recipe.network.phi * self._noise(logits)
            code = noisy_threshold(logits, noise)
        else:
            code = self.network.binarize(logits, self._noise(logits))
        if self.recipe.network.rates:
            code = code * self._kept_maps(logits)
        if self.teacher is None:
            purified = self.network.decode(code, size=(images.shape[-2], images.shape[-1]))
            loss = purifier_loss(
                images, purified.float(), code.float(), self.recipe.code_weight,
                balanced=bool(self.recipe.network.rates),
            )  # fmt: skip
            taught: Figures = {}
        else:
            purified, loss, taught = self._taught(images, logits, code)
        return loss.total, {
            "loss_reconstruction": loss.reconstruction,
            "loss_code": loss.code,
            "training_psnr": pooled_psnr(purified.detach(), images),
            "ones": code.mean(),
            "abs_z": logits.abs().mean(),
            "lr": self.recipe.learning_rate * self.schedule(self.step),
            **taught,
        }

    def _taught(
        self, images: Tensor, logits: Tensor, code: Tensor
    ) -> tuple[Tensor, PurifierLoss, Figures]:
        """Rebuild images from the network's own code and from the teacher's."""
        assert self.teacher is not None
        # bfloat16 flips only bits that the teacher is not sure about.
        low = torch.autocast(images.device.type, torch.bfloat16, native_bf16(images.device))
        with torch.no_grad(), low:
            taught = self.teacher.logits(images)
        right = threshold(taught)
        size = (images.shape[-2], images.shape[-1])
        purified, from_right = self.network.decode(torch.cat([code, right]), size).chunk(2)
        loss = taught_loss(
            images, (purified.float(), from_right.float()), logits.float(), taught.float(),
            self.recipe.network.phi, self.recipe.teaching,
        )  # fmt: skip
        return purified, loss, {"same_bits": (threshold(logits) == right).float().mean()}

    def _noise(self, logits: Tensor) -> Tensor:
        rank, world = process_share()
        generator = step_generator(self.recipe.seed, "noise", self.step)
        whole = torch.randn(len(logits) * world, *logits.shape[1:], generator=generator)
        return whole.chunk(world)[rank].to(logits)

    def _kept_maps(self, logits: Tensor) -> Tensor:
        """Draw a rate for each image and return the maps that it keeps, (B, K, 1, 1)."""
        rank, world = process_share()
        generator = step_generator(self.recipe.seed, "rates", self.step)
        whole = drawn_maps(self.recipe.network, len(logits) * world, generator)
        return whole.chunk(world)[rank].to(logits)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Measure the PSNR with the hard code, on (B, C, h, w) uint8 images, also under noise."""
        images = batch.float() / 255
        *lower, whole = self.network.config.bpps
        for bpp in (*lower, whole):
            purified = round_to_8_bits(self.network.at(bpp)(images).float())
            psnr = peak_signal_noise_ratio(purified, images)
            name = "validation_psnr" if bpp == whole else f"validation_psnr_{bpp:g}bpp"
            self.log(name, psnr, prog_bar=bpp == whole, batch_size=len(batch))
        for std in self.recipe.image_noise:
            generator = step_generator(self.recipe.seed, f"validation noise {std:g}", batch_idx)
            purified = self.network(noisy_images(images, (std,), generator))
            psnr = peak_signal_noise_ratio(round_to_8_bits(purified.float()), images)
            self.log(f"validation_psnr_noise_{std:g}", psnr, batch_size=len(batch))

    def filter_groups(self) -> list[dict[str, Any]]:
        """Return the filters to train; the one that makes the logits has its own learning rate."""
        return filter_groups(self.network, self.recipe.learning_rate * self.recipe.logit_rate)


def _started(recipe: PurifierRecipe) -> ComDefend:
    assert recipe.start is not None
    given = load(recipe.start)
    # The noise has no weights, so the network may have another than the start.
    if replace(given.config, phi=recipe.network.phi) != recipe.network:
        raise InputError(f"start: {recipe.start} has other layers than the recipe's network")
    purifier = ComDefend(recipe.network)
    purifier.load_state_dict(given.state_dict())
    return purifier


def _teacher(recipe: PurifierRecipe) -> ComDefend:
    assert recipe.teacher is not None
    teacher = load(recipe.teacher).requires_grad_(False)
    own = recipe.network
    layout = "channels", "code_maps", "downscale", "value_bits"
    for name in layout:
        if (wanted := getattr(own, name)) != (given := getattr(teacher.config, name)):
            raise InputError(
                f"teacher: {recipe.teacher} has {name} {given}, the recipe's network has {wanted}"
            )
    if recipe.crop % own.multiple:
        raise InputError(f"crop: must be a multiple of {own.multiple} to learn a teacher's code")
    return teacher.to(memory_format=torch.channels_last)


def prepare(recipe: PurifierRecipe, output: Path) -> Prepared:
    """Load the data and build the network; see `comdefend.training.run.prepare`."""
    channels = recipe.network.channels
    images = load_training_images(recipe.data, channels)
    held_out, training = split_images(images, recipe, channels, 4 * recipe.crop, output)
    module = PurifierTraining(recipe)

    def finish() -> Finished:
        measured, split = held_out, "held out of training"
        if named := name_test_split(recipe.data):
            measured, split = load_image_set(recipe.data, "test", channels).images, named
        return _finished(module, measured, split)

    return Prepared(
        module=module,
        train=step_loader(training, recipe.crop, recipe, lambda: module.step),
        validation=DataLoader(held_out, batch_size=64),  # type: ignore[arg-type]
        epochs=recipe.epochs,
        images=training if isinstance(training, Tensor) else training.paths,
        finish=finish,
        callbacks=(ReconstructionPanel(held_out[:_PANEL_IMAGES], output),),
    )


def _finished(module: PurifierTraining, images: Tensor, split: str) -> Finished:
    recipe, purifier, teacher = module.recipe, module.network.eval(), module.teacher
    measured = {
        "start": None if recipe.start is None else load_record(recipe.start),
        "same_bits": None if teacher is None else measure_same_bits(purifier, teacher, images),
        "bpp": recipe.network.bpp,
        "parameters": count_parameters(purifier),
        "measured_on": split,
        "fidelity": measure_fidelity(purifier, images).to_dict(),
        "fidelity_at": {
            f"{bpp:g}": measure_fidelity(purifier.at(bpp), images).to_dict()
            for bpp in purifier.config.bpps[:-1]
        },
        "psnr_under_noise": {
            f"{std:g}": measure_denoising(purifier, images, std, recipe.seed)
            for std in recipe.image_noise
        },
    }
    return Finished((purifier,), measured)


def card(record: dict[str, Any]) -> str:
    """Return the model card of a record, in Markdown."""
    recipe, fidelity = record["recipe"], record["fidelity"]
    network, crop, ms_ssim = recipe["network"], recipe["crop"], fidelity["ms_ssim"]
    rows = {
        "data": f"`{recipe['data']}`, training split",
        "bits per pixel": f"{record['bpp']:g} ({network['code_maps']} maps, "
        f"downscale {network['downscale']})",
        "parameters": f"{record['parameters']:,}",
        "training": f"{recipe['steps']:,} steps of {recipe['batch']} crops of {crop}x{crop}, "
        f"seed {recipe['seed']}",
        "started from": _start_named(record),
        "noise phi, lambda": f"{network['phi']:g}, {recipe['code_weight']:g}",
        "measured on": f"{fidelity['images']:,} images ({record['measured_on']})",
        "PSNR": f"{fidelity['psnr']:.2f} dB (mean over images), "
        f"{fidelity['pooled_psnr']:.2f} dB (of the mean squared error)",
    }
    # Older records have no entry for what did not exist yet.
    for bpp, lower in record.get("fidelity_at", {}).items():
        rows[f"PSNR at {bpp} bits per pixel"] = f"{lower['psnr']:.2f} dB"
    for std, psnr in record.get("psnr_under_noise", {}).items():
        rows[f"PSNR under noise {std}"] = f"{psnr:.2f} dB"
    if teacher := recipe.get("teacher"):
        rows[f"bits equal to those of `{teacher}`"] = f"{record['same_bits']:.2%}"
    rows["SSIM"] = f"{fidelity['ssim']:.4f}"
    rows["MS-SSIM"] = "not defined for such small images" if ms_ssim is None else f"{ms_ssim:.4f}"
    rows["ones in the code"] = f"{fidelity['ones']:.1%}"
    return table_card("Purifier", rows, record) + _logits_table(fidelity)


def _start_named(record: dict[str, Any]) -> str:
    if (start := record.get("start")) is None:
        return "orthogonal filters"
    recipe = start["recipe"]
    return f"`{record['recipe']['start']}`: {recipe['steps']:,} steps on `{recipe['data']}`"


def _logits_table(fidelity: dict[str, Any]) -> str:
    lines = ["", "Distance of the logits from the threshold:", "", "| \\|z\\| | share |"]
    lines.append("| --- | --- |")
    edges = fidelity["z_edges"]
    for low, high, share in zip(edges, [*edges[1:], None], fidelity["z_shares"], strict=True):
        bound = f"{low} to {high}" if high is not None else f"{low} and more"
        lines.append(f"| {bound} | {share:.2%} |")
    return "\n".join(lines) + "\n"
