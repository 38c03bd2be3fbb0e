"""Example images for a report: as they came, attacked, and purified."""

import base64
import io
from itertools import zip_longest
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from comdefend.nn.batches import apply

# The perturbation is shown around grey, this many times as strong.
MAGNIFIED = 10


def make_panels(
    classifier: nn.Module,
    purifier: nn.Module,
    images: Tensor,
    attacked: Tensor,
    labels: Tensor,
    classes: tuple[str, ...],
    seed: int,
) -> list[dict[str, Any]]:
    """Return what a report shows of some images, as JSON types.

    Args:
        classifier: Images in [0, 1] to logits.
        purifier: What defends it.
        images, attacked: (N, C, H, W) in [0, 1].
        labels: (N,) the true classes.
        classes: Their names; numbers are shown where there are none.
        seed: Of what the purifier draws at random.

    Returns:
        For each image its label, PNGs in base64 and, for each of them that is classified, the
        predicted class, its probability and whether it is right.
    """
    purified = apply(purifier, attacked, seed)
    perturbation = (0.5 + MAGNIFIED * (attacked - images)).clamp(0, 1)
    seen = {"clean": images, "attacked": attacked, "purified": purified}
    confidences = {name: apply(classifier, x).softmax(1).max(1) for name, x in seen.items()}
    panels = []
    for index, label in enumerate(labels.tolist()):
        predictions = {}
        for name, (probability, predicted) in confidences.items():
            found = int(predicted[index])
            predictions[name] = [_named(found, classes), probability[index].item(), found == label]
        pictures = {name: _png(x[index]) for name, x in seen.items()}
        pictures["perturbation"] = _png(perturbation[index])
        panels.append(
            {"label": _named(label, classes), "images": pictures, "predictions": predictions}
        )
    return panels


def choose(labels: Tensor, attacked_right: Tensor, defended_right: Tensor, count: int) -> Tensor:
    """Return indices of images to show: both kinds of outcome, no class twice where possible.

    Images that the attack breaks come before those that it does not; of these, saved and lost ones
    alternate, so that examples are no selection of successes.
    """
    broken = ~attacked_right
    saved = (broken & defended_right).nonzero().flatten().tolist()
    lost = (broken & ~defended_right).nonzero().flatten().tolist()
    order = [i for pair in zip_longest(saved, lost) for i in pair if i is not None]
    order += attacked_right.nonzero().flatten().tolist()
    first = list({int(labels[i]): i for i in reversed(order)}.values())[::-1]
    rest = [i for i in order if i not in first]
    return torch.tensor((sorted(first, key=order.index) + rest)[:count], dtype=torch.int64)


def _named(label: int, classes: tuple[str, ...]) -> str:
    return classes[label] if label < len(classes) else str(label)


def _png(image: Tensor) -> str:
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
