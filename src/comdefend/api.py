"""Evaluating from Python: one function, and what it returns."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import Tensor, nn

from comdefend.attacks import Attack, AttackFunction
from comdefend.common.atomic import atomic_write
from comdefend.common.defaults import RECOMMENDED
from comdefend.data.image_set import ImageSet
from comdefend.errors import ExtraMissingError
from comdefend.evaluation.experiment import Experiment
from comdefend.evaluation.given import (
    Given,
    data_name,
    image_set,
    named_attacks,
    named_defenses,
    own_classifier,
)
from comdefend.evaluation.loading import build_experiment
from comdefend.evaluation.panels import Panel
from comdefend.evaluation.record import (
    ANY,
    UNDEFENDED,
    Query,
    Record,
    Row,
    load_record,
    save_record,
)
from comdefend.evaluation.run import Progress, Run, Workers
from comdefend.nn.batches import device_of
from comdefend.report.markdown import markdown_table
from comdefend.report.notebook import summary_html, summary_text

DEFENSES = (UNDEFENDED, RECOMMENDED)
ATTACKS = ("fgsm", "pgd")
EPS = (2.0, 8.0)
"""What `evaluate` takes where nothing else is asked for."""


class Rows(list[Row]):
    """Rows of a record."""

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``, a column for each field of `Row`.

        Raises:
            ExtraMissingError: pandas is not installed.
        """
        try:
            import pandas  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            raise ExtraMissingError("pandas is not installed; run: pip install pandas") from error
        return pandas.DataFrame([msgspec.structs.asdict(row) for row in self])


class Evaluation:
    """What an evaluation measured: a table where it is shown, and typed rows.

    Args:
        record: Everything that was measured.
        panels: Example images for the report.
    """

    def __init__(self, record: Record, panels: Sequence[Panel] = ()) -> None:
        self.record, self.panels = record, tuple(panels)

    @classmethod
    def load(cls, path: str | Path) -> "Evaluation":
        """Read what `save` wrote; example images are not part of a record.

        Raises:
            DataMissingError: There is no such file.
            InputError: It holds no record, or one of another format.
        """
        return cls(load_record(Path(path)))

    def rows(
        self,
        *,
        defense: Query[str] = ANY,
        threat: Query[str] = ANY,
        attack: Query[str | None] = ANY,
        norm: Query[str | None] = ANY,
        eps: Query[float | None] = ANY,
    ) -> Rows:
        """Return the rows that fit, as `Record.rows` does."""
        return Rows(
            self.record.rows(defense=defense, threat=threat, attack=attack, norm=norm, eps=eps)
        )

    def report(self, path: str | Path) -> None:
        """Write the report, one HTML file that needs nothing else.

        Raises:
            OutputError: The file cannot be written.
        """
        # The charting library takes seconds to import.
        from comdefend.report.html import write_report

        write_report(self.record, Path(path), self.panels)

    def save(self, path: str | Path) -> None:
        """Write the record as JSON.

        Raises:
            OutputError: The file cannot be written.
        """
        save_record(self.record, Path(path))

    def __repr__(self) -> str:
        return summary_text(self.record)

    def _repr_html_(self) -> str:
        return summary_html(self.record)


def evaluate(
    classifier: nn.Module | str,
    images: Tensor | np.ndarray | None = None,
    labels: Tensor | np.ndarray | Sequence[int] | None = None,
    *,
    data: Any = None,
    defenses: str | nn.Module | Iterable[str | nn.Module] | Mapping[str, nn.Module] = DEFENSES,
    attacks: str | AttackFunction | Attack | Iterable[str | AttackFunction | Attack] = ATTACKS,
    eps: float | Iterable[float] = EPS,
    adaptive_steps: int = 20,
    sample: int | None = None,
    checkpoint: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] | str | Path | None = None,
    resize: int | None = None,
    crop: int | None = None,
    skip_unreadable: bool = False,
    seed: int = 0,
    device: str | None = None,
    output: str | Path | None = None,
    progress: Progress = lambda label, done, total: None,
    workers: Workers | None = None,
) -> Evaluation:
    """Measure what defences buy a classifier: clean, oblivious and adaptive.

    Every attack is made on the bare classifier (oblivious) and, by PGD and whatever else is named,
    through each defence (adaptive). Images are rounded to 8 bits before they are classified.

    Args:
        classifier: Images in [0, 1] to logits: an ``nn.Module`` in evaluation mode, or a name as
            `open_classifier` takes it.
        images: (N, C, H, W) in [0, 1], or uint8; to be given with ``labels``.
        labels: (N,) integers.
        data: Instead of the two: a data set, as `load_image_set` names it, or a
            ``datasets.Dataset`` (Hugging Face) with a column of images and one of class labels.
        defenses: Names as `load_defense` takes them, or modules (``nn.Module``), images to images;
            these may be given by name in a mapping. By default none and ``photo``.
        attacks: Names as `find_attack` takes them, with ``:STEPS`` behind them if so wanted, or
            functions of model, images, labels and eps to images. By default ``fgsm`` and ``pgd``.
        eps: Bounds on the largest change of a value, in whole units of 1/255; by default 2 and 8.
        adaptive_steps: Steps of the PGD through the defence.
        sample: Use so many of the images, drawn at random; 0 for all. By default all images in
            memory, and 200 of a data set.
        checkpoint: Weights of the classifier, where its name needs them.
        mean, std: What the classifier wants images normalised by, if it does not do so itself. By
            default, for ``torchvision:NAME`` and ``timm:NAME``, what the library says.
        classes: Names of the classifier's classes in the order of its outputs, or a file with one
            name a line, or JSON: by them the classes of the data are found.
        resize: Resize the shorter side of the images to this; 0 leaves it.
        crop: Then cut out the central square of this side; 0 leaves the images. Where neither is
            given, and the images differ in size or from what the classifier is known to take, they
            are resized and cropped as it is known to take them.
        skip_unreadable: Leave out image files that cannot be read, and say which.
        seed: Of sample and attacks.
        device: Where models run; by default where the classifier is.
        output: A folder. It receives ``record.json``, ``table.md`` and ``report.html``, and keeps
            finished work: the same call goes on where it was stopped. By default nothing is kept.
        progress: Told what is being done, the number of finished steps, and of all steps.
        workers: Who computes; by default this process. `comdefend.integrations.ray.on_cluster`
            lets a Ray cluster do so.

    Raises:
        InputError: Something does not fit: classifier and data, attacks and bounds.
        InputTypeError: Something has the wrong type.
        DataMissingError: Data or weights are missing.
        ExtraMissingError: A library that an attack or defence needs is not installed.
        OutputError: The folder cannot be written.
    """
    memory = image_set(images, labels, data)
    shields = named_defenses(defenses)
    named = named_attacks(attacks)
    bounds = [eps] if isinstance(eps, int | float) else list(eps)
    name = classifier if isinstance(classifier, str) else type(classifier).__name__
    source = data_name(data, memory)
    values = {
        "name": "evaluation" if output is None else Path(output).resolve().name.lstrip("."),
        "title": f"{name} on {source}",
        "data": source,
        "classifier": name,
        "defenses": list(dict.fromkeys([UNDEFENDED, *shields])),
        **_plans(named, bounds, adaptive_steps),
        "images": sample if sample is not None else 0 if isinstance(memory, ImageSet) else 200,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "mean": mean,
        "std": std,
        "classes": str(classes) if isinstance(classes, str | Path) else classes,
        "resize": resize or 0,
        "crop": crop or 0,
        "fit": resize is None and crop is None,
        "skip_unreadable": skip_unreadable,
        "seed": seed,
    }
    given = Given(
        memory,
        own_classifier(classifier, mean, std),
        {key: module for key, module in shields.items() if module is not None},
        {key: attack for key, (attack, _) in named.items()},
    )
    experiment = build_experiment(values, "evaluate", given.attacks)
    return run(experiment, output, device or _place(classifier), progress, given, workers)


def run(
    experiment: Experiment,
    output: str | Path | None,
    device: str = "cpu",
    progress: Progress = lambda label, done, total: None,
    given: Given = Given(),  # noqa: B008, it is frozen
    workers: Workers | None = None,
) -> Evaluation:
    """Run an experiment, or go on with one that was stopped.

    Args:
        experiment: What to measure.
        output: A folder for ``record.json``, ``table.md``, ``report.html`` and finished work; None
            keeps nothing.
        device: Where models run.
        progress: As for `evaluate`.
        given: Objects that take the place of what the experiment names.
        workers: As for `evaluate`.

    Raises:
        InputError, DataMissingError, OutputError: As for `evaluate`.
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory()) if output is None else None
        opened = Run(experiment, Path(output or str(temporary)), device, progress, given)
        evaluation = Evaluation(opened.measure(workers), opened.panels())
    if output is not None:
        folder = Path(output)
        evaluation.save(folder / "record.json")
        atomic_write(folder / "table.md", markdown_table(evaluation.record).encode())
        # Images may not be ours to give away: they are in the report alone, which stays here.
        evaluation.report(folder / "report.html")
    return evaluation


def _place(classifier: nn.Module | str) -> str:
    return "cpu" if isinstance(classifier, str) else str(device_of(classifier))


def _plans(
    attacks: Mapping[str, tuple[Attack, int | None]], eps: Sequence[float], adaptive_steps: int
) -> dict[str, Any]:
    """Return the attacks of an experiment: oblivious, adaptive and query."""
    oblivious: list[dict[str, Any]] = []
    # PGD is always made through the defence, in no fewer steps than on the classifier alone.
    most = max([adaptive_steps, *(n or 0 for a, n in attacks.values() if a.covered_by_pgd)])
    adaptive: list[dict[str, Any]] = [{"attack": "pgd", "eps": eps, "steps": most}]
    query: list[dict[str, Any]] = []
    for name, (attack, steps) in attacks.items():
        plan = {"attack": name, "steps": steps, "eps": eps if attack.norm == "Linf" else []}
        if attack.kind == "query":
            query.append(plan)
            continue
        oblivious.append(plan)
        if not attack.covered_by_pgd:
            adaptive.append(plan)
    return {"oblivious": oblivious, "adaptive": adaptive, "query": query}
