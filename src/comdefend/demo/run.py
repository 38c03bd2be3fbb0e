"""Attack, purify, classify, and say plainly what came of it."""

import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor, nn

import comdefend
from comdefend.atomic import atomic_write
from comdefend.attacks import perturb
from comdefend.data.sources import batches
from comdefend.defense import DefendedClassifier
from comdefend.demo.pictures import Example, Verdict, draw
from comdefend.demo.scenes import Scene, fashion_scene, photo_scene

EPS = 8
PGD_STEPS = 20
BATCH = 25
SEED = 0


@dataclass(frozen=True)
class _Plan:
    """How hard the adaptive attack tries: each round runs on what the ones before left standing."""

    images: int
    rounds: tuple[int, ...]


def run_demo(output: Path) -> dict[str, Any]:
    """Run the demo: print the table, write ``record.json`` and a picture for each scene.

    Args:
        output: The folder to write to.

    Returns:
        The record.

    Raises:
        ExtraMissingError: The ``demo`` extra is not installed.
        OutputError: The folder cannot be written.
    """
    console = Console()
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    # Writing first: an output folder that cannot be written should not cost a minute.
    atomic_write(output / "record.json", b"{}\n")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading")
        for make, plan in (
            (fashion_scene, _Plan(images=100, rounds=(3, 20))),
            (photo_scene, _Plan(images=6, rounds=(1, 3))),
        ):
            scene = make()
            bar.update(task, description=f"{scene.name}: attacking and purifying")
            rows += _measure(scene, plan, output)
    record = {
        "eps": f"{EPS}/255",
        "norm": "Linf",
        "seed": SEED,
        "rounded_to_8_bits": True,
        "rows": rows,
        "seconds": round(time.perf_counter() - started, 1),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "versions": {"comdefend": comdefend.__version__, "torch": torch.__version__},
    }
    atomic_write(output / "record.json", (json.dumps(record, indent=2) + "\n").encode())
    console.print(_table(rows))
    console.print(_EXPLANATION.format(output=output), highlight=False)
    return record


_EXPLANATION = """\
attacked: the attacker knows the classifier but not of the purifier (oblivious), nothing defends.
defended: the same images, purified first.
adaptive: the attacker knows of the purifier too. This is what to expect of one who reads this page.

Pictures and the record are in {output}/."""


def _measure(scene: Scene, plan: _Plan, output: Path) -> list[dict[str, Any]]:
    defended = DefendedClassifier(scene.purifier, scene.classifier)
    labels = _labels(scene)
    clean = {
        "bare": _right(scene.classifier, scene.images, scene.accepted),
        "defended": _right(defended, scene.images, scene.accepted),
    }
    adaptive, broken = _adaptive(scene, defended, labels, plan)
    rows = []
    for attack, steps in (("fgsm", 1), ("pgd", PGD_STEPS)):
        attacked = torch.cat(
            [
                perturb(
                    scene.classifier, scene.images[part], labels[part], attack, EPS, steps, SEED
                )
                for part in batches(len(labels), BATCH)
            ]
        )
        rows.append(
            {
                "data": scene.name,
                "classifier": scene.classifier_name,
                "purifier": scene.purifier_name,
                "attack": attack,
                "steps": steps,
                "images": len(labels),
                "clean": _share(clean["bare"]),
                "clean_defended": _share(clean["defended"]),
                "attacked": _share(_right(scene.classifier, attacked, scene.accepted)),
                "defended": _share(_right(defended, attacked, scene.accepted)),
                "adaptive": _share(~broken),
                "adaptive_attack": f"pgd, {' then '.join(map(str, plan.rounds))} steps",
                "adaptive_images": plan.images,
            }
        )
    draw(
        [_example(scene, i, attacked[i], adaptive[i]) for i in scene.shown],
        f"{scene.name}: PGD {EPS}/255 on {scene.classifier_name}, then {scene.purifier_name}",
        output / f"{scene.name.lower()}.png",
    )
    return rows


def _adaptive(
    scene: Scene, defended: nn.Module, labels: Tensor, plan: _Plan
) -> tuple[dict[int, Tensor], Tensor]:
    """Attack the whole pipeline; return adversarial images by index, and which ones succeeded.

    The images that are shown come first, then evenly spaced ones up to the plan's number.
    """
    spaced = torch.linspace(0, len(labels) - 1, plan.images).round().long().tolist()
    chosen = list(dict.fromkeys([*scene.shown, *spaced]))[: plan.images]
    found = {i: scene.images[i] for i in chosen}
    indices = torch.tensor(chosen)
    broken = ~_right(defended, scene.images[indices], scene.accepted[indices])
    for steps in plan.rounds:
        standing = (~broken).nonzero().flatten()
        for part in batches(len(standing), BATCH):
            rows = standing[part]
            where = indices[rows]
            attacked = perturb(
                defended, scene.images[where], labels[where], "pgd", EPS, steps, SEED
            )
            broken[rows] = ~_right(defended, attacked, scene.accepted[where])
            found.update(zip(where.tolist(), attacked, strict=True))
    return found, broken


@torch.inference_mode()
def _right(model: nn.Module, images: Tensor, accepted: Tensor) -> Tensor:
    """Return for each image whether the model's label is one of the accepted."""
    predicted = torch.cat([model(images[p]).argmax(1) for p in batches(len(images), BATCH)])
    return accepted.gather(1, predicted.unsqueeze(1)).squeeze(1)


@torch.inference_mode()
def _labels(scene: Scene) -> Tensor:
    """Return the label to attack: of the accepted ones, that which the classifier prefers."""
    logits = torch.cat(
        [scene.classifier(scene.images[p]) for p in batches(len(scene.images), BATCH)]
    )
    return logits.masked_fill(~scene.accepted, -torch.inf).argmax(1)


@torch.inference_mode()
def _example(scene: Scene, index: int, attacked: Tensor, adaptive: Tensor) -> Example:
    clean = scene.images[index]

    def verdict(image: Tensor) -> Verdict:
        confidence, label = scene.classifier(image.unsqueeze(0)).softmax(1)[0].max(0)
        right = bool(scene.accepted[index, label])
        return Verdict(scene.classes[int(label)], float(confidence), right)

    code = scene.purifier.encode(attacked.unsqueeze(0))
    purified = scene.purifier.decode(code, size=(clean.shape[-2], clean.shape[-1]))[0]
    outwitted = scene.purifier(adaptive.unsqueeze(0))[0]
    return Example(
        clean=(clean, verdict(clean)),
        attacked=(attacked, verdict(attacked)),
        perturbation=attacked - clean,
        code=code[0],
        purified=(purified, verdict(purified)),
        adaptive=(outwitted, verdict(outwitted)),
    )


def _share(right: Tensor) -> float:
    return round(right.float().mean().item(), 4)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Accuracy, attacks within {EPS}/255 (Linf)", title_justify="left")
    for name in ("images", "classifier", "purifier", "attack"):
        table.add_column(name)
    for name in ("clean", "clean,\ndefended", "attacked", "defended", "adaptive"):
        table.add_column(name, justify="right", vertical="bottom")
    for row in rows:
        steps = f"-{row['steps']}" if row["attack"] != "fgsm" else ""
        shares = (row[key] for key in ("clean", "clean_defended", "attacked", "defended"))
        table.add_row(
            f"{row['images']} {row['data']}",
            row["classifier"],
            row["purifier"],
            f"{row['attack'].upper()}{steps}",
            *(f"{share:.0%}" for share in shares),
            f"{row['adaptive']:.0%}" if row["attack"] != "fgsm" else "",
        )
    return table
