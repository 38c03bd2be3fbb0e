"""A certification: image by image, so that it can be stopped and resumed."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from comdefend.certification.attack import DRAWS, STEPS, Adversary
from comdefend.certification.base import BaseClassifier, check_repeats
from comdefend.certification.bounds import largest_radius
from comdefend.certification.noise import stream_key
from comdefend.certification.record import (
    Attacked,
    CertificationRecord,
    Image,
    levels_of,
    radii_within,
)
from comdefend.certification.settings import Settings
from comdefend.certification.smoothing import Certified, Smoothed
from comdefend.common.atomic import make_folder
from comdefend.common.processor import processor_name
from comdefend.common.provenance import commit, versions
from comdefend.common.schema import build, to_plain
from comdefend.common.store import Store
from comdefend.data.listing import Wanted
from comdefend.errors import InputError
from comdefend.evaluation.experiment import DefensePlan, Experiment
from comdefend.evaluation.given import Given
from comdefend.evaluation.record import UNDEFENDED, Data
from comdefend.evaluation.run import open_sample
from comdefend.evaluation.subjects import Subjects
from comdefend.nn.batches import batches

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the number of finished images and that of all images."""

JUDGED_DRAWS = 1000
"""Draws by which an attacked image is judged, at most: there is one for every radius."""
_TRIED = 4
"""Images on which an engine has to compute the classifier's logits."""


class Certification:
    """Settings, ready to be certified: data, purifier and classifier are opened and checked.

    Args:
        settings: What to certify.
        output: A folder; finished images are kept below it, and a run that was stopped goes on.
        device: Where models run.
        progress: Told of every image.
        given: Objects that take the place of what the settings name.

    Raises:
        InputError: Something does not fit, or draws at random.
        DataMissingError: Data or weights are missing.
        ExtraMissingError: An engine, or a library that the defence needs, is not installed.
        OutputError: The folder cannot be written.
    """

    def __init__(
        self, settings: Settings, output: Path, device: str, progress: Progress, given: Given
    ) -> None:
        self.device, self.progress = device, progress
        experiment = _experiment(settings)

        def announce(label: str) -> None:
            progress(label, 0, 0)

        sample = open_sample(experiment, given, announce)
        # Samples are in random order, also where all images are taken.
        wanted = Wanted(count=settings.images, seed=settings.seed)
        given_places = [] if given.data is None else wanted.order(len(given.data))
        if len(given_places) != len(sample):  # some could not be read
            given_places = []
        self.places: list[int | None] = [*given_places] or [None] * len(sample)

        subjects = Subjects(experiment, output, device, sample, announce, given)
        subject = subjects.open(experiment.defenses[0], subjects.main())
        self.data, self.images = subjects.data, subjects.images
        try:
            base = BaseClassifier(
                subject.purifier, subject.classifier, settings.engine, settings.precision,
                self.images[:_TRIED],
            )  # fmt: skip
            check_repeats(base, self.images[:1])
        except InputError as error:
            raise InputError(f"{subject.name}: {error}") from error
        self.settings = msgspec.structs.replace(
            settings, engine=base.engine, precision=base.precision
        )
        # Only now: what cannot start should not leave a folder.
        make_folder(output)
        common = {"versions": versions("scipy", "onnxruntime", "openvino"), "device": device}
        self.store = Store(output / "images", common)
        self.subject, self.base = subject, base
        largest = largest_radius(settings.n, settings.alpha, settings.sigma)
        self.largest, self.radii = largest, radii_within(largest)

    def measure(self) -> CertificationRecord:
        """Certify and attack all images that are not done yet, and return the record of all."""
        smoothed = self._smoothed(self.settings.n)
        count = min(self.settings.attacked, len(self.data))
        total = len(self.data) + count
        images: list[Image] = []
        for part in batches(len(self.data), smoothed.images_at_once(self.images)):
            self.progress("certifying", part.start, total)
            images += self._certified(smoothed, range(part.start, part.stop))
        judge = self._smoothed(min(self.settings.n, JUDGED_DRAWS))
        adversary = Adversary(judge, self.subject.classifier, self.radii)
        attacked = []
        for index in range(count):
            self.progress("attacking", len(self.data) + index, total)
            attacked.append(self._attacked(adversary, images[index], index))
        self.progress("done", total, total)
        return self._record(images, attacked)

    def _smoothed(self, draws: int) -> Smoothed:
        asked = self.settings
        return Smoothed(self.base, asked.sigma, draws, asked.n0, asked.alpha, asked.seed)

    def _key(self, index: int) -> dict[str, object]:
        """Return everything that the result of an image depends on."""
        asked = self.settings
        return {
            "subject": self.subject.key, "engine": asked.engine, "precision": asked.precision,
            "classifier_engine": self.base.classifier_engine,
            "sigma": asked.sigma, "n": asked.n, "n0": asked.n0, "alpha": asked.alpha,
            "image": stream_key(asked.seed, "image", self.images[index]), "seed": asked.seed,
        }  # fmt: skip

    def _certified(self, smoothed: Smoothed, indices: range) -> list[Image]:
        """Certify images that are computed together, as far as they are not done yet."""
        found = {index: self.store.found(self._key(index)) for index in indices}
        missing = [index for index, result in found.items() if result is None]
        if missing:
            for index, image in zip(missing, smoothed.certify(self.images[missing]), strict=True):
                found[index] = to_plain(image)
                self.store.keep(self._key(index), to_plain(image))
        return [
            Image(
                **msgspec.structs.asdict(build(Certified, result, "image")),
                label=int(self.data.labels[index]),
                place=self.places[index],
            )
            for index, result in found.items()
        ]

    def _attacked(self, adversary: Adversary, image: Image, index: int) -> Attacked:
        attack = {
            "attack": "pgd-l2", "label": image.label, "steps": STEPS, "draws": DRAWS,
            "judged": adversary.smoothed.n, "radii": self.radii,
        }  # fmt: skip
        result = self.store.result(
            {**self._key(index), **attack},
            lambda: to_plain(adversary.attack(self.images[index], image)),
        )
        return build(Attacked, result, "attacked image")

    def _record(self, images: list[Image], attacked: list[Attacked]) -> CertificationRecord:
        asked, data = self.settings, self.data
        radii = [image.radius if image.withstands(0) else 0.0 for image in images]
        bare = asked.defense == UNDEFENDED
        pipeline = asked.classifier if bare else f"{asked.defense} before {asked.classifier}"
        return CertificationRecord(
            title=f"{pipeline} on {asked.data}, smoothed",
            settings=asked,
            classifier_engine=self.base.classifier_engine,
            data=Data(
                source=asked.data, split="test", images=len(data), seed=asked.seed,
                fingerprint=data.fingerprint(), classes=data.classes,
            ),
            device=self.device,
            threads=torch.get_num_threads(),
            processor=processor_name(self.device),
            versions=versions("scipy", "onnxruntime", "openvino"),
            commit=commit(),
            seconds=round(sum(image.seconds for image in images), 1),
            abstained=sum(image.answer is None for image in images),
            stopped=sum(image.stopped for image in images),
            mean_radius=sum(radii) / len(radii),
            largest_radius=self.largest,
            steps=STEPS,
            draws=DRAWS,
            judged=min(asked.n, JUDGED_DRAWS),
            levels=levels_of(self.radii, self.images[0].numel(), images, attacked),
            images=tuple(images),
            attacked=tuple(attacked),
        )  # fmt: skip


def _experiment(settings: Settings) -> Experiment:
    """Return the sample and the pipeline as an evaluation has them, to be opened as it does."""
    return Experiment(
        name="certification",
        title="certification",
        data=settings.data,
        classifier=settings.classifier,
        defenses=(DefensePlan(settings.defense, settings.defense),),
        images=settings.images,
        resize=settings.resize,
        crop=settings.crop,
        fit=settings.fit,
        skip_unreadable=settings.skip_unreadable,
        mean=settings.mean,
        std=settings.std,
        checkpoint=settings.checkpoint,
        classes=settings.classes,
        seed=settings.seed,
    )
