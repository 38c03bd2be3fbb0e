"""Training a purifier: encoder and decoder together, on clean images only."""

from pathlib import Path
from typing import Any

import msgspec
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from comdefend.common.atomic import atomic_write
from comdefend.common.processor import native_bf16
from comdefend.data.sources import load_training_images
from comdefend.errors import InputError
from comdefend.nn.binarize import drawn_maps, threshold
from comdefend.nn.loss import purifier_loss, taught_loss
from comdefend.nn.metrics import peak_signal_noise_ratio, round_to_8_bits
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import FileCrops, StepSampler, crop_loader, step_generator
from comdefend.training.card import purifier_card, purifier_record, run_facts
from comdefend.training.optimizer import Muon
from comdefend.training.panel import ReconstructionPanel
from comdefend.training.recipe import PurifierRecipe
from comdefend.training.run import Precision, fit, lightning_precision, open_run
from comdefend.weights.zoo import load, save_weights

# Gain of the orthogonal initialisation; above 1 because an ELU halves the negative part.
INITIAL_GAIN = 1.2
# The logits have to rise above noise of standard deviation phi; starting them at that scale saves
# the steps that would go into growing them. They are half as wide as the noise then.
LOGIT_GAIN = 0.5


class PurifierTraining(LightningModule):
    """Minimises `purifier_loss` with noise before the binarisation (Jia et al. 2019, Section 3).

    Filters are trained by Muon, biases by Adam, both with the same schedule: a linear warm-up,
    a plateau and a linear decay to zero. With a teacher it minimises `taught_loss` instead.

    Args:
        recipe: Network, loss, optimiser and schedule.
    """

    def __init__(self, recipe: PurifierRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        # Muon and Adam step one after the other in a step of training.
        self.automatic_optimization = False
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.purifier = ComDefend(recipe.network)
            if recipe.start is None:
                initialize(self.purifier)
            else:
                _start_from(self.purifier, recipe.start)
        self.teacher = None if recipe.teacher is None else _teacher(recipe)

    @property
    def step(self) -> int:
        """Number of the next step; Lightning counts those of both optimisers."""
        return self.global_step // 2

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Do one step on (B, C, h, w) uint8 crops."""
        images = batch.float() / 255
        images = images.contiguous(memory_format=torch.channels_last)
        size = (images.shape[-2], images.shape[-1])
        logits = self.purifier.logits(images)
        code = self.purifier.binarize(logits, self._noise(logits)) * self._kept(logits)
        if self.teacher is None:
            purified = self.purifier.decode(code, size)
            loss = purifier_loss(
                images, purified.float(), code.float(), self.recipe.code_weight,
                balanced=bool(self.recipe.network.rates),
            )  # fmt: skip
        else:
            # Bits that bfloat16 turns over are those of which the teacher is not sure anyway.
            low = torch.autocast(images.device.type, torch.bfloat16, native_bf16(images.device))
            with torch.no_grad(), low:
                taught = self.teacher.logits(images)
            right = threshold(taught)
            purified, from_right = self.purifier.decode(torch.cat([code, right]), size).chunk(2)
            both = purified.float(), from_right.float()
            scale, weight = self.recipe.network.phi, self.recipe.teaching
            loss = taught_loss(images, both, logits.float(), taught.float(), scale, weight)
            self.log("same_bits", (threshold(logits) == right).float().mean(), prog_bar=True)

        optimizers, schedulers = self._optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss.total)
        for optimizer in optimizers:
            optimizer.step()
        for scheduler in schedulers:
            scheduler.step()

        with torch.no_grad():
            psnr = -10 * torch.log10((purified - images).square().mean())
            self.log_dict(
                {
                    "loss": loss.total,
                    "loss_reconstruction": loss.reconstruction,
                    "loss_code": loss.code,
                    "training_psnr": psnr,
                    "ones": code.mean(),
                    "abs_z": logits.abs().mean(),
                    "lr": schedulers[0].get_last_lr()[0],
                },
            )
            self.log("psnr", psnr, prog_bar=True, logger=False)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Measure the PSNR in use, with the hard threshold, on (B, C, h, w) uint8 images."""
        images = batch.float() / 255
        *lower, whole = self.purifier.config.bpps
        for bpp in (*lower, whole):
            purified = round_to_8_bits(self.purifier.at(bpp)(images).float())
            psnr = peak_signal_noise_ratio(purified, images)
            name = "validation_psnr" if bpp == whole else f"validation_psnr_{bpp:g}bpp"
            self.log(name, psnr, prog_bar=bpp == whole, batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        """Return Muon for filters and Adam for biases, with their schedules."""
        recipe = self.recipe
        logit_filter = _logit_layer(self.purifier).weight
        filters: list[Tensor] = [
            p for p in self.purifier.parameters() if p.ndim > 1 and p is not logit_filter
        ]
        biases = [p for p in self.purifier.parameters() if p.ndim == 1]
        groups: list[dict[str, Any]] = [
            {"params": filters},
            {"params": [logit_filter], "lr": recipe.learning_rate * recipe.logit_rate},
        ]
        muon = Muon(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        adam = torch.optim.Adam(biases, lr=recipe.bias_rate, betas=(0.9, 0.99))
        return [muon, adam], [LambdaLR(muon, self._schedule), LambdaLR(adam, self._schedule)]

    def _schedule(self, step: int) -> float:
        done = min(step / self.recipe.steps, 1.0)
        return min(1.0, (step + 1) / (0.1 * self.recipe.steps), (1 - done) / 0.7)

    def _optimizers(self) -> tuple[list[Any], list[Any]]:
        optimizers, schedulers = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizers, list)
        assert isinstance(schedulers, list)
        return optimizers, schedulers

    def _noise(self, logits: Tensor) -> Tensor:
        generator = step_generator(self.recipe.seed, "noise", self.step)
        noise = torch.randn(self._whole(logits), *logits.shape[1:], generator=generator)
        return self._share(noise).to(logits)

    def _kept(self, logits: Tensor) -> Tensor:
        """Return which maps of each image's code are kept, (B, K, 1, 1): a rate drawn for each."""
        generator = step_generator(self.recipe.seed, "rates", self.step)
        kept = drawn_maps(self.recipe.network, self._whole(logits), generator)
        return self._share(kept).to(logits)

    def _whole(self, logits: Tensor) -> int:
        """Return the size of the step's batch, over all processes."""
        return len(logits) * self.trainer.world_size

    def _share(self, drawn: Tensor) -> Tensor:
        """Return this process's part of what was drawn for the whole batch."""
        return drawn.chunk(self.trainer.world_size)[self.trainer.global_rank]


@torch.no_grad()
def initialize(purifier: ComDefend) -> None:
    """Set orthogonal filters and zero biases, with logits on the scale of the noise."""
    for module in purifier.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.orthogonal_(module.weight, INITIAL_GAIN)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    _logit_layer(purifier).weight.mul_(max(LOGIT_GAIN * purifier.config.phi, 1.0))


def _logit_layer(purifier: ComDefend) -> nn.Conv2d:
    return [m for m in purifier.encoder.modules() if isinstance(m, nn.Conv2d)][-1]


def _start_from(purifier: ComDefend, weights: str) -> None:
    given = load(weights)
    # The noise holds no weights, and may be another than the start was trained with.
    if msgspec.structs.replace(given.config, phi=purifier.config.phi) != purifier.config:
        raise InputError(f"start: {weights} has other layers than the recipe's network")
    purifier.load_state_dict(given.state_dict())


def _teacher(recipe: PurifierRecipe) -> ComDefend:
    assert recipe.teacher is not None
    teacher = load(recipe.teacher).requires_grad_(False)
    own, config = recipe.network, teacher.config
    layouts = [(c.channels, c.code_maps, c.downscale) for c in (own, config)]
    if layouts[0] != layouts[1]:
        raise InputError(
            f"teacher: {recipe.teacher} has {config.code_maps} maps at downscale "
            f"{config.downscale} of images with {config.channels} channels, the recipe's network "
            f"has {own.code_maps} at {own.downscale} of {own.channels}"
        )
    if recipe.crop % own.multiple:
        raise InputError(f"crop: must be a multiple of {own.multiple} to learn a teacher's code")
    return teacher.to(memory_format=torch.channels_last)


def train_purifier(
    recipe: PurifierRecipe,
    output: Path,
    precision: Precision = "auto",
    devices: int = 1,
) -> Path | None:
    """Train a purifier and write ``purifier.safetensors`` and ``purifier.md`` (its model card).

    A run that was stopped, however, goes on from its last checkpoint when called again with the
    same recipe and output, and ends with the weights that an uninterrupted run would have had.

    Args:
        recipe: What to train, on which data.
        output: The run's folder; logs, checkpoints and panels go there too.
        precision: ``auto``, ``32`` or ``bf16``.
        devices: Processes that train together.

    Returns:
        The weight file; None in processes that leave writing to the first.

    Raises:
        InputError: The folder holds a run of another recipe, or the data is too small.
        DataMissingError: The data is not there.
    """
    lightning_precision(precision)
    channels = recipe.network.channels
    images = load_training_images(recipe.data, channels)
    if len(images) <= recipe.validation:
        raise InputError(
            f"{recipe.data}: {len(images)} images do not leave any to train on beside "
            f"{recipe.validation} for validation"
        )
    if recipe.batch % devices:
        raise InputError(f"batch ({recipe.batch}) must be a multiple of devices ({devices})")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe.seed))
    held_out, kept = order[: recipe.validation], order[recipe.validation :]
    if isinstance(images, Tensor):
        training: Tensor | list[Path] = images[kept]
        validation = images[held_out]
    else:
        training = [images[i] for i in kept]
        files = FileCrops([images[i] for i in held_out], 4 * recipe.crop, channels)
        validation = torch.stack([files[0, i, 0.5, 0.5] for i in range(len(files))])

    module = PurifierTraining(recipe)
    # Only now: a start that fails must not leave a folder that refuses the corrected one.
    open_run(output, recipe)
    sampler = StepSampler(
        count=len(training),
        batch=recipe.batch,
        steps=recipe.epoch_steps,
        seed=recipe.seed,
        next_step=lambda: module.step,
        share=lambda: (module.trainer.global_rank, module.trainer.world_size),
    )
    trainer = fit(
        module,
        crop_loader(training, recipe.crop, channels, sampler),
        DataLoader(validation, batch_size=64),  # type: ignore[arg-type]
        output,
        recipe.epochs,
        [ReconstructionPanel(validation[:12], output)],
        precision,
        devices,
    )
    if not trainer.is_global_zero:
        return None
    weights = output / "purifier.safetensors"
    record = purifier_record(
        module.purifier.eval(), module.teacher, recipe, validation, run_facts(training, trainer)
    )
    save_weights(weights, module.purifier, record)
    atomic_write(output / "purifier.md", purifier_card(record).encode())
    return weights
