"""Attack, purify, classify, and say plainly what came of it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor, nn

import comdefend
from comdefend.attacks import run_attack
from comdefend.common.atomic import atomic_write, make_folder
from comdefend.demo.pictures import Example, Verdict, draw
from comdefend.demo.scenes import Scene, fashion_scene, photo_scene, robust_scene
from comdefend.nn.batches import batches, images_at_once
from comdefend.nn.purifier import ComDefend

EPS = 8
PGD_STEPS = 20
# The adaptive attack goes through the purifier in every step: it gets a share of the images, and
# first tries whether few steps do.
ADAPTIVE_STEPS = (2, 10)
ADAPTIVE_IMAGES = 40
SEED = 0


@dataclass(frozen=True)
class _Purified:
    """Images, what the purifier makes of them, and which of those are classified rightly."""

    images: Tensor
    code: Tensor
    purified: Tensor
    right: Tensor


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
    # An output folder that cannot be written should not cost a minute.
    make_folder(output)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading")

        def say(text: str) -> None:
            bar.update(task, description=text)

        for make in (fashion_scene, robust_scene, photo_scene):
            rows += _Demonstration(make(), say).run(output)
    record = {
        "eps": f"{EPS}/255",
        "norm": "Linf",
        "seed": SEED,
        "rounded_to_8_bits": True,
        "rows": rows,
        "seconds": round(time.perf_counter() - started, 1),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "versions": {"comdefend": comdefend.__version__, "torch": torch.__version__},
    }
    atomic_write(output / "record.json", (json.dumps(record, indent=2) + "\n").encode())
    console.print(_table(rows))
    console.print(_EXPLANATION.format(output=output), highlight=False, markup=False)
    return record


_EXPLANATION = """\
attacked: by one who knows the classifier, not the defence (oblivious); no defence.
defended: the same images, defended.
adaptive: by one who knows the defence too. Plan with this column; a stronger
          attack than this one can only lower it.

Pictures and the record are in {output}/."""


class _Demonstration:
    """One scene, step by step."""

    def __init__(self, scene: Scene, say: Any) -> None:
        self.scene, self.say = scene, say
        self.purified_at_once = images_at_once(scene.defended.purifier, scene.images)
        self.classified_at_once = images_at_once(scene.classifier, scene.images)

    def run(self, output: Path) -> list[dict[str, Any]]:
        scene = self.scene
        everything = torch.arange(len(scene.images))
        self._say("clean images")
        labels = self._labels()
        clean = self._purify(scene.images, everything)
        attacked = {}
        for attack, steps in (("fgsm", 1), ("pgd", PGD_STEPS)):
            self._say(f"{attack.upper()}, oblivious")
            found = self._attack(scene.classifier, labels, everything, attack, steps)
            attacked[attack] = self._purify(found, everything)
        probed = self._probed()
        adaptive = self._adaptive([attacked["pgd"], attacked["fgsm"], clean], labels, probed)
        draw(
            [self._example(i, attacked["pgd"], adaptive) for i in scene.shown],
            f"{scene.images_name}: attacked by PGD-{PGD_STEPS} within {EPS}/255 on "
            f"{scene.classifier_name},\ndefended by {scene.defense_name}",
            output / f"{scene.picture}.png",
        )
        return [
            {
                "data": scene.images_name,
                "images": len(everything),
                "classifier": scene.classifier_name,
                "defense": scene.defense_name,
                "attack": attack,
                "steps": 1 if attack == "fgsm" else PGD_STEPS,
                "clean": _share(self._right(scene.classifier, scene.images, everything)),
                "clean_defended": _share(clean.right),
                "attacked": _share(self._right(scene.classifier, result.images, everything)),
                "defended": _share(result.right),
                "adaptive": _share(adaptive.right[probed]),
                "adaptive_images": len(probed),
                "adaptive_attack": "for each image the worst of leaving it, the oblivious attacks, "
                f"and PGD-{ADAPTIVE_STEPS[-1]} through the defence (straight-through gradient)",
            }
            for attack, result in attacked.items()
        ]

    def _adaptive(self, known: list[_Purified], labels: Tensor, probed: Tensor) -> _Purified:
        """Return for each probed image what breaks the defence, or else the last attack tried.

        Who knows of the defence can do all that others can, so what is known already comes first:
        the oblivious attacks, and leaving the image as it is.
        """
        worst = known[0]
        for result in known[1:]:
            standing = worst.right.nonzero().flatten()
            worst = _updated(worst, _selected(result, standing), standing)
        for steps in ADAPTIVE_STEPS:
            standing = probed[worst.right[probed]]
            self._say(f"PGD-{steps}, adaptive, {len(standing)} standing")
            if len(standing):
                found = self._attack(self.scene.defended, labels, standing, "pgd", steps)
                worst = _updated(worst, self._purify(found, standing), standing)
        return worst

    def _probed(self) -> Tensor:
        """Return the images for the adaptive attack: those shown, and others evenly spaced."""
        count = len(self.scene.images)
        spaced = torch.linspace(0, count - 1, min(count, ADAPTIVE_IMAGES)).long().tolist()
        return torch.tensor(list(dict.fromkeys([*self.scene.shown, *spaced]))[:ADAPTIVE_IMAGES])

    def _attack(
        self, model: nn.Module, labels: Tensor, indices: Tensor, attack: str, steps: int
    ) -> Tensor:
        images = self.scene.images
        defended = model is self.scene.defended
        size = self.purified_at_once if defended else self.classified_at_once
        parts = [indices[part] for part in batches(len(indices), size)]
        found = [
            run_attack(model, images[p], labels[p], attack, EPS, steps, seed=SEED) for p in parts
        ]
        return torch.cat(found)

    @torch.inference_mode()
    def _purify(self, images: Tensor, indices: Tensor) -> _Purified:
        purifier, size = self.scene.defended.purifier, (images.shape[-2], images.shape[-1])
        assert isinstance(purifier, ComDefend)
        codes, purified = [], []
        for part in batches(len(images), self.purified_at_once):
            codes.append(purifier.encode(images[part]))
            purified.append(purifier.decode(codes[-1], size=size))
        result = torch.cat(purified)
        right = self._right(self.scene.defended.classifier, result, indices)
        return _Purified(images, torch.cat(codes), result, right)

    @torch.inference_mode()
    def _right(self, classifier: nn.Module, images: Tensor, indices: Tensor) -> Tensor:
        """Return for each image whether a classifier's label is one of the accepted."""
        predicted = self._logits(classifier, images).argmax(1)
        return self.scene.accepted[indices].gather(1, predicted.unsqueeze(1)).squeeze(1)

    @torch.inference_mode()
    def _labels(self) -> Tensor:
        """Return the label to attack: of the accepted ones, that which the classifier prefers."""
        logits = self._logits(self.scene.classifier, self.scene.images)
        return logits.masked_fill(~self.scene.accepted, -1e9).argmax(1)

    def _logits(self, classifier: nn.Module, images: Tensor) -> Tensor:
        parts = [images[part] for part in batches(len(images), self.classified_at_once)]
        return torch.cat([classifier(part) for part in parts])

    @torch.inference_mode()
    def _example(self, index: int, attacked: _Purified, adaptive: _Purified) -> Example:
        scene = self.scene

        def judged(classifier: nn.Module, image: Tensor) -> tuple[Tensor, Verdict]:
            confidence, label = classifier(image.unsqueeze(0)).softmax(1)[0].max(0)
            right = bool(scene.accepted[index, label])
            return image, Verdict(scene.classes[int(label)], float(confidence), right)

        behind = scene.defended.classifier
        return Example(
            clean=judged(scene.classifier, scene.images[index]),
            attacked=judged(scene.classifier, attacked.images[index]),
            perturbation=attacked.images[index] - scene.images[index],
            code=attacked.code[index],
            purified=judged(behind, attacked.purified[index]),
            adaptive=judged(behind, adaptive.purified[index]),
        )

    def _say(self, text: str) -> None:
        self.say(f"{self.scene.images_name}, {self.scene.defense_name}: {text}")


def _updated(whole: _Purified, part: _Purified, indices: Tensor) -> _Purified:
    """Return ``whole`` with the images at ``indices`` replaced by ``part``."""
    return _Purified(
        whole.images.index_copy(0, indices, part.images),
        whole.code.index_copy(0, indices, part.code),
        whole.purified.index_copy(0, indices, part.purified),
        whole.right.index_copy(0, indices, part.right),
    )


def _selected(whole: _Purified, indices: Tensor) -> _Purified:
    return _Purified(
        whole.images[indices], whole.code[indices], whole.purified[indices], whole.right[indices]
    )


def _share(right: Tensor) -> float:
    return round(right.float().mean().item(), 4)


def _table(rows: list[dict[str, Any]]) -> Table:
    title = f"Accuracy. Attacks within {EPS}/255 (Linf), images rounded to 8 bits, seed {SEED}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.caption_justify = "left"
    table.add_column("images,\nattacked classifier,\ndefence", no_wrap=True)
    table.add_column("attack")
    for name in ("clean", "clean,\ndefended", "attacked", "defended", "adaptive"):
        table.add_column(name, justify="right", min_width=8)
    for index, row in enumerate(rows):
        first = index == 0 or _names(row) != _names(rows[index - 1])
        if first and index:
            table.add_section()
        keys = ("clean", "clean_defended", "attacked", "defended", "adaptive")
        table.add_row(
            f"{row['images']} {row['data']}\n{row['classifier']}"
            if first
            else row["defense"].replace(", ", ",\n"),
            row["attack"].upper() + (f"-{row['steps']}" if row["steps"] > 1 else ""),
            *(f"{row[key]:.0%}" for key in keys),
        )
    row = rows[0]
    table.caption = f"adaptive: {row['adaptive_attack']}; {row['adaptive_images']} images at most"
    return table


def _names(row: dict[str, Any]) -> tuple[str, str]:
    return row["data"], row["defense"]
