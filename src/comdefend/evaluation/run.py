"""Running an experiment: every defence against every attack, image by image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from comdefend.classifiers import known_preprocessing
from comdefend.common.atomic import make_folder
from comdefend.common.provenance import versions
from comdefend.common.schema import to_plain
from comdefend.common.store import Store
from comdefend.data.image_set import ImageSet
from comdefend.data.listing import Listing, Wanted, fit_set
from comdefend.data.sources import load_image_set
from comdefend.errors import InputError
from comdefend.evaluation.attacker import Attacker
from comdefend.evaluation.cells import Cell, Plan, usual_attack
from comdefend.evaluation.collect import collect
from comdefend.evaluation.experiment import Experiment
from comdefend.evaluation.given import Given
from comdefend.evaluation.judge import Judge
from comdefend.evaluation.loading import attacks_of
from comdefend.evaluation.measures import Result, Workbench, measured
from comdefend.evaluation.panels import Panel, choose, examples, to_panel
from comdefend.evaluation.record import Record
from comdefend.evaluation.subjects import Subject, Subjects
from comdefend.nn.metrics import round_to_8_bits
from comdefend.nn.purifier import ComDefend

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the number of finished steps and that of all steps.

Before the first step, while models are trained, both numbers are 0.
"""

Step = tuple[Workbench, Cell]
"""A cell, and what measuring it needs but for the cells that it starts from."""

Workers = Callable[[Sequence[Step], Store, Progress], Mapping[str, Result]]
"""Measures all cells that are not in the store yet, each after those it starts from.

It keeps in the store what it measures, and returns all results by the digests of their cells.
"""


class Run:
    """An experiment, ready to be measured: data, models and attacks are opened and checked.

    Args:
        experiment: What to measure.
        output: A folder; finished cells are kept below it, and a run that was stopped goes on.
        device: Where models run.
        progress: Told of every step.
        given: Objects that take the place of what the experiment names.

    Raises:
        InputError: Something does not fit: classifier and data, attacks and bounds.
        DataMissingError: Data or weights are missing.
        OutputError: The folder cannot be written.
    """

    def __init__(
        self,
        experiment: Experiment,
        output: Path,
        device: str = "cpu",
        progress: Progress = lambda label, done, total: None,
        given: Given = Given(),  # noqa: B008, it is frozen
    ) -> None:
        self.experiment, self.device, self.progress = experiment, device, progress
        self.attacks = attacks_of(experiment, given.attacks)

        def announce(label: str) -> None:
            progress(label, 0, 0)

        data = open_sample(experiment, given, announce)
        subjects = Subjects(experiment, output, device, data, announce, given)
        self.main = subjects.main()
        self.data, images = subjects.data, subjects.images
        self.data_key, labels = self.data.fingerprint(), self.data.labels
        # Only now: what cannot start should not leave a folder; nor should an output that cannot
        # be written cost an hour.
        make_folder(output)
        made_on = dict.fromkeys(plan.made_on for plan in experiment.oblivious)
        self.sources = {name: subjects.classifier(name) for name in made_on if name is not None}
        self.corruptions = {name: subjects.corruption(name) for name in experiment.corruptions}
        self.subjects = [subjects.open(plan, self.main) for plan in experiment.defenses]
        store = Store(output / "cells", {"versions": versions(), "device": device})
        self.store = store
        seed = experiment.seed
        self.attacker = Attacker(
            store, images, labels, self.data_key, self.attacks, seed, experiment.draws
        )
        self.judge = Judge(images, labels, seed)

    def measure(self, workers: Workers | None = None) -> Record:
        """Measure all cells that are not done yet, and return the record of all.

        Args:
            workers: Who measures them; by default this process, one after the other.
        """
        corruption_keys = {name: key for name, (_, key) in self.corruptions.items()}
        source_keys = {name: source.key for name, source in self.sources.items()}
        corruptions = {name: module for name, (module, _) in self.corruptions.items()}
        plans = [
            Plan(
                self.experiment, subject, self.main.key, self.data_key, len(self.data),
                self.attacks, corruption_keys, source_keys,
            )
            for subject in self.subjects
        ]  # fmt: skip

        def bench(subject: Subject) -> Workbench:
            parts = self.attacker, self.judge, self.main, self.sources, corruptions
            return Workbench(subject, *parts)

        steps = [(bench(plan.subject), cell) for plan in plans for cell in plan.cells()]
        results = (workers or in_turn)(steps, self.store, self.progress)
        self.progress("done", len(steps), len(steps))
        found = [
            (subject, [(cell, results[cell.digest]) for at, cell in steps if at.subject is subject])
            for subject in self.subjects
        ]
        return collect(self.experiment, self.data, self.attacks, found, self.device)

    def panels(self, count: int = 6) -> list[Panel]:
        """Return example images of the first learned purifier, or else of the first defence."""
        usual = usual_attack(self.experiment.oblivious, self.attacks)
        shields = [s for s in self.subjects if s.purifier is not None]
        if usual is None or not shields:
            return []
        subject = next((s for s in shields if isinstance(s.purifier, ComDefend)), shields[0])
        plan, eps = usual
        steps = self.attacks[plan.attack].steps and (plan.steps or self.attacks[plan.attack].steps)
        attacked = round_to_8_bits(
            self.attacker.alone(
                subject.alone, plan.attack, eps, steps, plan.images or len(self.data), plan
            )
        )
        labels = self.data.labels[: len(attacked)]
        bare = replace(subject, purifier=None, random_purifier=False)
        right = self.judge.verdicts(bare, attacked)
        chosen = choose(labels, right, self.judge.verdicts(subject, attacked), count)
        shown = {"attacked": attacked[chosen]}
        found = examples(self.judge, subject, chosen, shown, self.data.classes)
        return [to_panel(subject.name, example) for example in found]


def in_turn(steps: Sequence[Step], store: Store, progress: Progress) -> Mapping[str, Result]:
    """Measure one cell after the other, here: see `Workers`."""
    results: dict[str, Result] = {}
    for done, (at, cell) in enumerate(steps):
        progress(f"{at.subject.name}: {cell.label}", done, len(steps))
        compute = partial(measured, replace(at, before=results), cell)
        results[cell.digest] = store.result(to_plain(cell), compute)
    return results


def run_experiment(
    experiment: Experiment,
    output: Path,
    device: str = "cpu",
    progress: Progress = lambda label, done, total: None,
) -> Record:
    """Measure an experiment, or go on with one that was stopped; see `Run`."""
    return Run(experiment, output, device, progress).measure()


def open_sample(experiment: Experiment, given: Given, announce: Callable[[str], None]) -> ImageSet:
    """Return the images of an experiment as its classifier takes them, and say what stands out.

    Raises:
        InputError, DataMissingError, ImageError: As for `take_sample`.
    """
    data = take_sample(experiment, given.data, _usual_size(experiment, given))
    for note in data.notes:
        announce(note)
    if experiment.images > len(data):
        announce(f"{experiment.data}: has {len(data)} images; all are taken")
    return data


def take_sample(
    experiment: Experiment,
    given: ImageSet | Listing | None = None,
    usual: tuple[int, int] | None = None,
) -> ImageSet:
    """Return the images of an experiment, resized and cropped, in an order drawn at random.

    Args:
        experiment: Which images, and how many; all where it asks for more than there are.
        given: Images as objects, in place of those that the experiment names.
        usual: Resize and crop to take where the images differ in size, or from that crop.

    Raises:
        InputError: An attack is to see more images than the sample has, or the crop is too large.
        DataMissingError, ImageError: As for `load_image_set`.
    """
    # In random order even where all are taken: files come sorted by class.
    wanted = Wanted(
        count=experiment.images,
        seed=experiment.seed,
        resize=experiment.resize,
        crop=experiment.crop,
        usual=usual,
        skip_unreadable=experiment.skip_unreadable,
    )
    if given is None:
        data = load_image_set(experiment.data, "test", wanted=wanted)
    elif isinstance(given, Listing):
        data = given.read(wanted)
    else:
        data = fit_set(given, wanted)
    for plan in experiment.plans:
        if (plan.images or 0) > len(data):
            raise InputError(f"{plan.attack}: {plan.images} images of a sample of {len(data)}")
    return data


def _usual_size(experiment: Experiment, given: Given) -> tuple[int, int] | None:
    """Return resize and crop of the classifier's own images, where they are known and wanted."""
    named = given.classifier is None and experiment.train_classifier is None
    if not (experiment.fit and named):
        return None
    known = known_preprocessing(experiment.classifier)
    return (known.resize, known.crop) if known and known.crop else None
