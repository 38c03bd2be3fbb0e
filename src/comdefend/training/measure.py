"""Measuring the fidelity of a purifier and the accuracy of a classifier."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from comdefend.data.image_set import ImageSet
from comdefend.nn.batches import batches, device_of
from comdefend.nn.metrics import decibels, peak_signal_noise_ratio, round_to_8_bits
from comdefend.nn.pixelcnn import PixelCNN
from comdefend.nn.purifier import ComDefend
from comdefend.training.batches import noisy_images, step_generator

# Five scales with a window of 11x11 need sides of more than (11 - 1) * 2^4 pixels.
MS_SSIM_MINIMUM = 161
# Lower edges of the bins of |z|; the last bin is open.
HISTOGRAM_EDGES = (0, 1, 2, 5, 10, 20, 30, 40, 60, 80, 120, 160, 240)


@dataclass(frozen=True)
class Fidelity:
    """Fidelity of a purifier whose outputs are rounded to 8 bits.

    Attributes:
        images: Number of images measured.
        psnr: Mean over images of each image's PSNR, in dB.
        pooled_psnr: PSNR of the mean squared error over all images, in dB; never above `psnr`.
        ssim: Mean structural similarity.
        ms_ssim: Mean multi-scale structural similarity; None for images below 161 pixels.
        ones: Share of ones in the code.
        z_edges: Lower edges of the bins of |z|; the last bin is open.
        z_shares: Share of the logits in each bin.
    """

    images: int
    psnr: float
    pooled_psnr: float
    ssim: float
    ms_ssim: float | None
    ones: float
    z_edges: tuple[int, ...]
    z_shares: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON types."""
        return asdict(self)


@torch.inference_mode()
def measure_fidelity(purifier: ComDefend, images: Tensor, batch: int = 25) -> Fidelity:
    """Measure a purifier in evaluation mode on (N, C, H, W) uint8 images of one size."""
    device = device_of(purifier)
    edges = torch.tensor(HISTOGRAM_EDGES, dtype=torch.float32, device=device)
    counts = torch.zeros(len(edges), device=device, dtype=torch.float64)
    psnr = squared = similarity = multiscale = ones = 0.0
    large = min(images.shape[-2:]) >= MS_SSIM_MINIMUM
    for part in batches(len(images), batch):
        clean = images[part].to(device).float() / 255
        clean = clean.contiguous(memory_format=torch.channels_last)
        logits = purifier.logits(clean)
        code = purifier.binarize(logits)
        size = (images.shape[-2], images.shape[-1])
        purified = round_to_8_bits(purifier.decode(code, size=size))
        share = len(clean) / len(images)
        psnr += share * peak_signal_noise_ratio(purified, clean).item()
        squared += share * (purified - clean).square().mean().item()
        ssim = structural_similarity_index_measure(purified, clean, data_range=1.0)
        assert isinstance(ssim, Tensor)
        similarity += share * ssim.item()
        if large:
            ms_ssim = multiscale_structural_similarity_index_measure(
                purified, clean, data_range=1.0
            )
            multiscale += share * ms_ssim.item()
        ones += share * code.mean().item()
        bins = torch.bucketize(logits.abs().flatten(), edges, right=True) - 1
        counts += torch.bincount(bins, minlength=len(edges))
    return Fidelity(
        images=len(images),
        psnr=psnr,
        pooled_psnr=decibels(max(squared, 1e-12)),
        ssim=similarity,
        ms_ssim=multiscale if large else None,
        ones=ones,
        z_edges=HISTOGRAM_EDGES,
        z_shares=tuple((counts / counts.sum()).tolist()),
    )


@torch.inference_mode()
def measure_denoising(
    purifier: ComDefend, images: Tensor, std: float, seed: int, batch: int = 25
) -> float:
    """Return the mean PSNR, in dB, of what a purifier makes of noisy images, against clean ones.

    Args:
        purifier: In evaluation mode.
        images: (N, C, H, W) uint8.
        std: Standard deviation of the normal noise, for images in [0, 1].
        seed: Of the noise.
        batch: Images per batch.
    """
    device, total = device_of(purifier), 0.0
    for number, part in enumerate(batches(len(images), batch)):
        clean = images[part].to(device).float() / 255
        generator = step_generator(seed, f"measured noise {std:g}", number)
        purified = round_to_8_bits(purifier(noisy_images(clean, (std,), generator)))
        total += len(clean) * peak_signal_noise_ratio(purified, clean).item()
    return total / len(images)


@torch.inference_mode()
def measure_accuracy(classifier: nn.Module, images: ImageSet, batch: int = 250) -> float:
    """Return the share of images that a classifier, of images in [0, 1], gets right."""
    hits = 0
    for part in batches(len(images), batch):
        logits = classifier(images.images[part].float() / 255)
        hits += int((logits.argmax(1) == images.labels[part]).sum())
    return hits / len(images)


@torch.inference_mode()
def measure_bits(model: PixelCNN, images: Tensor, batch: int = 50) -> float:
    """Return the mean bits per dimension of (N, C, H, W) uint8 images."""
    device = device_of(model)
    total = 0.0
    for part in batches(len(images), batch):
        bits = model.bits_per_dimension(images[part].to(device).float() / 255)
        total += bits.double().sum().item()
    return total / len(images)


@torch.inference_mode()
def measure_same_bits(
    purifier: ComDefend, other: ComDefend, images: Tensor, batch: int = 25
) -> float:
    """Return the share of bits, from 0 to 1, in which two purifiers' codes of images agree.

    Args:
        purifier: In evaluation mode.
        other: Another one.
        images: (N, C, H, W) uint8.
        batch: Images per batch.
    """
    device = device_of(purifier)
    same = 0.0
    for part in batches(len(images), batch):
        clean = images[part].to(device).float() / 255
        agreeing = (purifier.encode(clean) == other.encode(clean)).float().mean()
        same += agreeing.item() * len(clean)
    return same / len(images)
