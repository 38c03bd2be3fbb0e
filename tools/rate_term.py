"""Record whether pressure on the code shortens files: ``python -m tools.rate_term``.

A purifier is trained on for a few hundred steps: as it was, with the paper's pressure towards zeros
(lambda), and with an estimate of the bits that its code takes. Probability tables are learned anew
for each, and its files measured on photographs held out of training. Reads photographs from
``COMDEFEND_DATA``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from comdefend import load
from comdefend.codec.container import code_tiles
from comdefend.codec.entropy import pack
from comdefend.codec.learning import learn_tables
from comdefend.codec.levels import Bits, to_levels
from comdefend.common.json_files import save_json
from comdefend.common.processor import Machine, this_machine
from comdefend.data.image_files import read_named
from comdefend.data.listing import Wanted
from comdefend.data.sources import load_training_images
from comdefend.nn.binarize import drawn_maps, noisy_threshold
from comdefend.nn.loss import purifier_loss
from comdefend.nn.metrics import peak_signal_noise_ratio
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import load_record

RECORD = Path(__file__).parent.parent / "docs" / "records" / "rate-term.json"
START = "photo-clean"
HELD_OUT = "photos/val"
STEPS, BATCH, CROP, PEAK_RATE, SEED = 150, 8, 128, 1e-4, 0
LEARNED, MEASURED = 60, 20
"""Photographs that tables are learned from, and those that are measured."""

Term = Literal["none", "lambda", "bits"]
RUNS: tuple[tuple[Term, float], ...] = (
    ("none", 0.0), ("lambda", 1e-3), ("lambda", 4e-3),
    ("bits", 1e-3), ("bits", 4e-3), ("bits", 1.6e-2), ("bits", 6.4e-2),
)  # fmt: skip


class TermRate(msgspec.Struct, frozen=True):
    """One rate of one training: bits of code per pixel, and means over the photographs held out.

    Attributes:
        rate: Bits of code per pixel, before entropy coding.
        bpp: Bits per pixel of its entropy-coded parts.
        psnr: PSNR in dB.
    """

    rate: float
    bpp: float
    psnr: float


class TermRun(msgspec.Struct, frozen=True):
    """One training.

    Attributes:
        term: What was added to the loss: nothing, lambda ||c||^2, or estimated bits.
        weight: Its weight.
        rates: From few bits to many.
    """

    term: Term
    weight: float
    rates: tuple[TermRate, ...]


class RateTerm(Machine, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        start: Weights that all trainings start from.
        data: Training photographs.
        steps, batch, crop, seed: Of each training.
        held_out: Photographs that are measured, and ``images`` of them.
        runs: One for each term and weight.
    """

    start: str
    data: str
    steps: int
    batch: int
    crop: int
    seed: int
    held_out: str
    images: int
    runs: tuple[TermRun, ...]


def measure() -> RateTerm:
    """Return the record."""
    recipe = load_record(START)["recipe"]
    paths = load_training_images(recipe["data"], 3)
    assert not isinstance(paths, Tensor)
    # As training did: those held out come first.
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(recipe["seed"]))
    photographs = _read([paths[place] for place in order[recipe["validation"] :].tolist()])
    paths = load_training_images(f"folder:{HELD_OUT}", 3)
    assert not isinstance(paths, Tensor)
    held_out = _read([paths[place] for place in Wanted(count=MEASURED).order(len(paths))])
    runs = []
    for term, weight in RUNS:
        purifier = _trained(photographs, term, weight)
        rates = _rates(purifier, photographs[:LEARNED], held_out)
        runs.append(TermRun(term, weight, rates))
        print(runs[-1], flush=True)
    return RateTerm(
        **this_machine(),
        start=START,
        data=recipe["data"],
        steps=STEPS,
        batch=BATCH,
        crop=CROP,
        seed=SEED,
        held_out=HELD_OUT,
        images=MEASURED,
        runs=tuple(runs),
    )


def _read(paths: Sequence[Path]) -> list[Tensor]:
    """Return (1, 3, H, W) uint8 images."""
    return [torch.from_numpy(read_named(path).pixels(3)) for path in paths]


def _trained(photographs: Sequence[Tensor], term: Term, weight: float) -> ComDefend:
    """Return the start, trained on with a term in its loss."""
    purifier = load(START)
    optimizer = torch.optim.Adam(purifier.parameters(), lr=PEAK_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=STEPS)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(STEPS):
        images = _crops(photographs, generator)
        logits = purifier.logits(images)
        noise = purifier.config.phi * torch.randn(logits.shape, generator=generator)
        code = noisy_threshold(logits, noise)
        code = code * drawn_maps(purifier.config, BATCH, generator)
        weighed = weight if term == "lambda" else 0.0
        loss = purifier_loss(images, purifier.decode(code), code, weighed, balanced=True).total
        if term == "bits":
            loss = loss + weight * estimated_bits(logits, purifier.config.value_bits) / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return purifier.requires_grad_(False)


def _crops(photographs: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Return random crops, shrunk by up to 2, as (N, 3, CROP, CROP) in [0, 1]."""
    crops = []
    for index in torch.randint(len(photographs), (BATCH,), generator=generator).tolist():
        height, width = photographs[index].shape[-2:]
        draw = torch.rand(3, generator=generator).tolist()
        side = int(CROP * (1 + draw[0]))
        top, left = int(draw[1] * (height - side)), int(draw[2] * (width - side))
        crop = photographs[index][..., top : top + side, left : left + side].float() / 255
        crops.append(
            torch.nn.functional.interpolate(crop, (CROP, CROP), mode="bilinear", antialias=True)
        )
    return torch.cat(crops).clamp(0, 1)


def estimated_bits(logits: Tensor, value_bits: int) -> Tensor:
    """Return about how many bits the code takes, with a gradient.

    A value is predicted by those beside and above it: log2(1 + its difference in levels), the
    mean of the two.

    Args:
        logits: z of a code, (N, K, h, w), in which the first bit of each value is the value.
        value_bits: Bits that tell one value; the levels are 2 apart.
    """
    values = logits[:, ::value_bits] / 2
    steps = [values.diff(dim=dim).abs() for dim in (-2, -1)]
    return sum((torch.log2(1 + step).sum() for step in steps), torch.zeros(())) / 2


@torch.inference_mode()
def _rates(
    purifier: ComDefend, learned: Sequence[Tensor], measured: Sequence[Tensor]
) -> tuple[TermRate, ...]:
    """Return what files cost and keep at each rate, with tables learned anew."""
    config = purifier.config
    levels = [to_levels(_code(purifier, image), config.value_bits) for image in learned]
    tables = learn_tables(levels, 2**config.value_bits)
    maps = (*config.rates, config.code_maps)
    bpps, psnrs = np.zeros(len(maps)), np.zeros(len(maps))
    for image in measured:
        code, size = _code(purifier, image), image.shape[-2:]
        assert len(list(code_tiles((code.shape[1], code.shape[2])))) == 1
        bytes_ = 0
        for place, (known, until) in enumerate(zip((0, *maps), maps, strict=False)):
            bytes_ += len(pack(code[:until], known, config.value_bits, tables))
            bpps[place] += 8 * bytes_ / size.numel()
            bits = torch.from_numpy(code[:until]).float().unsqueeze(0)
            rebuilt = purifier.at(until / config.downscale**2).decode(bits, (size[0], size[1]))
            rebuilt = (rebuilt * 255).round() / 255
            psnrs[place] += peak_signal_noise_ratio(rebuilt, image.float() / 255).item()
    return tuple(
        TermRate(m / config.downscale**2, bpp / len(measured), psnr / len(measured))
        for m, bpp, psnr in zip(maps, bpps.tolist(), psnrs.tolist(), strict=True)
    )


def _code(purifier: ComDefend, image: Tensor) -> Bits:
    return purifier.encode(image.float() / 255)[0].numpy().astype(np.uint8)


if __name__ == "__main__":
    save_json(measure(), RECORD)
