"""The shipped weights, and what their training took."""

import msgspec

from comdefend import zoo
from comdefend.common import schema
from comdefend.report.summary import percent
from tools.docs.markdown import table
from tools.docs.records import Distillation, WeightDecay, read
from tools.training_cost import TrainingCost


class _Fidelity(msgspec.Struct, frozen=True):
    psnr: float
    pooled_psnr: float
    ssim: float


class _Recipe(msgspec.Struct, frozen=True):
    kind: str
    data: str
    trained: str = ""
    classifier: str = ""


class _Trained(msgspec.Struct, frozen=True):
    """The training record inside a weight file; a purifier's and its classifier's are equal."""

    recipe: _Recipe
    parameters: int
    bpp: float | None = None
    accuracy: float | None = None
    fidelity: _Fidelity | None = None


def _records(names: list[str]) -> dict[str, _Trained]:
    return {name: schema.build(_Trained, zoo.load_record(name), name) for name in names}


def _card(name: str) -> str:
    """Return the name as a link of the README to its model card."""
    return f"[`{name}`](src/comdefend/zoo/shipped/{name}.md)"


_HOW = {"defense": ", against attacks", "guided": ", guided by a classifier"}


def purifiers() -> str:
    """What the shipped purifiers measured, on images that their training did not see."""
    rows = []
    for name, record in _records(zoo.weights()).items():
        if record.fidelity is None or record.bpp is None:
            continue
        against = _HOW.get(record.recipe.kind, "")
        rows.append([
            _card(name), f"{record.recipe.data}{against}", f"{record.bpp:g}",
            f"{record.fidelity.psnr:.2f}", f"{record.fidelity.pooled_psnr:.2f}",
            f"{record.fidelity.ssim:.3f}",
        ])  # fmt: skip
    head = [
        "purifier", "trained on", "bits per pixel", "PSNR, dB", "PSNR of the mean squared error",
        "SSIM",
    ]  # fmt: skip
    return table(head, rows, names=2)


def classifiers() -> str:
    """The shipped classifiers, each pair in one line."""
    purifying = _records(zoo.weights())
    rows = {}
    for name, record in _records(zoo.classifier_weights()).items():
        behind = [purifier for purifier, other in purifying.items() if other == record]
        rows[", then ".join(map(_card, [*behind, name]))] = record
    for name, record in purifying.items():
        # Trained in front of a classifier that stayed as it is.
        if record.recipe.trained == "purifier":
            rows[f"{_card(name)}, then {_card(record.recipe.classifier)}"] = record
    return table(
        ["classifier", "parameters", "clean accuracy"],
        [
            [title, f"{record.parameters:,}", percent(record.accuracy or 0.0, 2)]
            for title, record in rows.items()
        ],
    )


def test_accuracy(name: str) -> str:
    """Clean accuracy on all test images, of a shipped classifier or of one with its purifier."""
    accuracy = _records([name])[name].accuracy
    if accuracy is None:
        raise LookupError(f"{name}: its record has no accuracy")
    return percent(accuracy, 1)


def cost() -> str:
    """What training takes, from timed runs."""
    rows = []
    for row in read(TrainingCost, "training-cost").rows:
        epoch, whole = row.epoch_steps / row.rate, row.steps / row.rate
        rows.append([
            f"`{row.recipe}`", row.machine, f"{row.rate:.1f}", f"{epoch:.0f} s",
            f"{whole / 60:.0f} min",
        ])  # fmt: skip
    return table(["recipe", "machine", "steps per second", "epoch", "whole run"], rows, names=2)


def decay() -> str:
    """What weight decay does to a purifier's training."""
    rows = [
        [f"{row.weight_decay:g}", f"{row.validation_psnr:.2f}", f"{row.abs_z:g}"]
        for row in read(WeightDecay, "weight-decay").rows
    ]
    return table(["weight decay", "PSNR, dB", "mean \\|z\\|"], rows, names=0)


def distillation() -> str:
    """What became of the lite network in each of its trainings."""
    rows = [
        [
            row.name, f"{row.steps:,}", f"{row.crop}", f"{row.phi:g}", f"{row.teaching:g}",
            percent(row.same_bits, 1), f"{row.validation_psnr:.2f}",
        ]
        for row in read(Distillation, "distillation").rows
    ]  # fmt: skip
    head = ["", "steps", "crop", "phi", "weight of the code", "teacher's bits", "PSNR, dB"]
    return table(head, rows)
