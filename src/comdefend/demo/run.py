"""Attack, purify, classify, and say plainly what came of it."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from comdefend.common.atomic import make_folder
from comdefend.demo.pictures import draw
from comdefend.demo.scenes import (
    ADAPTIVE_STEPS,
    EPS,
    PGD_STEPS,
    Scene,
    fashion_scene,
    photo_scene,
)
from comdefend.evaluation.panels import examples
from comdefend.evaluation.record import Record, save_record
from comdefend.evaluation.run import Run
from comdefend.evaluation.statistics import worst_case
from comdefend.evaluation.subjects import Subject
from comdefend.nn.metrics import round_to_8_bits
from comdefend.nn.purifier import ComDefend
from comdefend.report.summary import show


def run_demo(output: Path) -> list[Record]:
    """Run the demo: print the table, write a record for each scene and its pictures.

    Args:
        output: The folder to write to.

    Returns:
        The records, those of ordinary evaluations.

    Raises:
        ExtraMissingError: The ``demo`` extra is not installed.
        OutputError: The folder cannot be written.
    """
    # An output folder that cannot be written should not cost a minute.
    make_folder(output)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    records = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading")

        def say(label: str, done: int, total: int) -> None:
            bar.update(task, description=label)

        for make in (fashion_scene, photo_scene):
            scene = make()
            # Measured anew every time: a demo that remembers shows nothing.
            with tempfile.TemporaryDirectory() as folder:
                run = Run(scene.experiment, Path(folder), progress=say, given=scene.given)
                record = run.measure()
                for subject in run.subjects:
                    if name := scene.pictures.get(subject.name):
                        say(f"{name}.png", 0, 0)
                        _draw(run, scene, subject, output / f"{name}.png")
            save_record(record, output / f"{record.name}.json")
            records.append(record)
    console = Console()
    console.print(_table(records))
    console.print(_EXPLANATION.format(output=output), highlight=False, markup=False, soft_wrap=True)
    return records


_EXPLANATION = f"""\
FGSM, PGD: the attacker knows the classifier but not the defence (oblivious).
adaptive:  the attacker knows the defence too. For each image the worst of leaving it,
           the oblivious attacks, and PGD-{ADAPTIVE_STEPS} through the defence. Plan with this
           column; a stronger attack can only lower it.

Pictures and records are in {{output}}/."""


def _draw(run: Run, scene: Scene, subject: Subject, path: Path) -> None:
    purifier, data = subject.purifier, run.data
    assert isinstance(purifier, ComDefend)
    chosen = torch.tensor([int((data.labels == label).nonzero()[0]) for label in scene.shown])
    attacked = run.attacker.alone(subject.alone, "pgd", EPS, PGD_STEPS, len(data))
    adaptive = run.attacker.through(subject, "identity", chosen, "pgd", EPS, ADAPTIVE_STEPS)
    images = {"attacked": attacked[chosen], "adaptive": adaptive}
    images = {name: round_to_8_bits(moved) for name, moved in images.items()}
    with torch.inference_mode():
        codes: Tensor = purifier.encode(images["attacked"])
    title = (
        f"{scene.experiment.title}: attacked by PGD-{PGD_STEPS} within {EPS}/255 on "
        f"{scene.experiment.classifier},\ndefended by {subject.name}"
    )
    shown = examples(run.judge, subject, chosen, images, data.classes)
    if scene.compared is not None:
        other = next(s for s in run.subjects if s.name == scene.compared)
        attacked_only = {"attacked": images["attacked"]}
        others = examples(run.judge, other, chosen, attacked_only, data.classes)
        name = scene.compared
        shown = [
            replace(
                example,
                images={**example.images, name: beside.images["purified"]},
                predictions={**example.predictions, name: beside.predictions["purified"]},
            )
            for example, beside in zip(shown, others, strict=True)
        ]
    draw(shown, codes, title, path, scene.compared)


def _table(records: list[Record]) -> Table:
    title = f"Accuracy. Attacks within {EPS}/255 (L∞), images rounded to 8 bits, seed 0"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("defence", no_wrap=True)
    for name in ("clean", "FGSM", f"PGD-{PGD_STEPS}", "adaptive"):
        table.add_column(name, justify="right", min_width=8)
    for record in records:
        table.add_section()
        about = f"{record.data.images} {record.title}, {record.classifier}"
        table.add_row(f"[bold]{about}[/bold]")
        for name in record.defense_names:
            oblivious = [
                record.rows(defense=name, threat="oblivious", attack=attack)
                for attack in ("fgsm", "pgd")
            ]
            shares = [
                record.rows(defense=name, threat="clean"),
                *oblivious,
                record.rows(defense=name, threat="adaptive"),
            ]
            table.add_row(f"  {name}", *(show(worst_case(rows)) for rows in shares))
    return table
