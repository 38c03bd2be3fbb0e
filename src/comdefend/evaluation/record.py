"""Records: what an evaluation measured, typed, as JSON on disk."""

from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from comdefend.attacks import Settings
from comdefend.common.json_files import load_versioned, save_json
from comdefend.evaluation.findings import Check, Defense, Resubmission

FORMAT = 1

UNDEFENDED = "none"
"""The name of the bare classifier among the defences."""

THREATS = {
    "oblivious": "The attacker has the classifier and does not know about the defence.",
    "adaptive": "The attacker has the whole pipeline, defence included, and attacks through it.",
    "query": "The attacker sees only the answers of the whole pipeline, and no gradients.",
    "transfer": "The attack was made on another classifier and is tried on this one.",
}
"""Threat model -> what the attacker has."""


class Anything(Enum):
    """The type of `ANY`."""

    ANY = "any"


ANY: Final = Anything.ANY
"""Matches whatever it is, in a query. None asks for rows where the field is empty."""

_T = TypeVar("_T")
Query: TypeAlias = _T | Anything
"""A value to look for, or `ANY`."""


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The images that were evaluated.

    Attributes:
        source: Data set, as `load_image_set` takes it.
        split: Which part of it.
        images: Size of the sample.
        seed: Of the sample.
        fingerprint: SHA-256 over pixels and labels.
        classes: Names of the classes, in the order of the labels; may be empty.
    """

    source: str
    split: str
    images: int
    seed: int
    fingerprint: str
    classes: tuple[str, ...] = ()


class Row(Settings, frozen=True, kw_only=True):
    """One attack on one defence, at one bound, and how it was made.

    Attributes:
        defense: Name of the defence, `UNDEFENDED` for the bare classifier.
        threat: ``clean``, or a name of `THREATS`.
        attack: Its name; None on clean images.
        norm: ``Linf`` or ``L2``; None on clean images.
        eps: The bound, in units of 1/255; None where there is none.
        steps: Steps of the attack; None where it has none.
        rounded: Its images were rounded to 8 bits.
        detail: Anything else worth saying, in words.
        images: Number of images attacked: the first of the sample.
        accuracy: Share of them that are classified correctly, in [0, 1].
        interval: Its 95 % Wilson interval.
        unrounded_accuracy: The same without rounding images to 8 bits, where it was measured.
        perturbation_psnr: Of the attacked images, in dB, where it was measured.
        correct: "1" or "0" for each image.
        resubmitted: What is left where an image may be submitted 1, 5 and 20 times: of a defence
            or classifier that draws at random, whose other figures are of means over draws. On
            clean images it is what chance alone breaks, without an attacker's help; on attacked
            ones what the attack left of each image; for adaptive rows the worst, image by image, of
            every image that the attack tried and of all rows within the bound. Empty where nothing
            is drawn, and in records made before it was measured.
        seconds: How long it took.
    """

    defense: str
    threat: str
    attack: str | None = None
    norm: str | None = None
    eps: float | None = None
    steps: int | None = None
    rounded: bool = True
    detail: str = ""
    images: int
    accuracy: float
    interval: tuple[float, float]
    unrounded_accuracy: float | None = None
    perturbation_psnr: float | None = None
    correct: str = ""
    resubmitted: tuple[Resubmission, ...] = ()
    seconds: float = 0.0

    @property
    def variant(self) -> str:
        """In which of several ways the attack was made: ``10 steps of 1/255, not rounded``."""
        steps = "" if self.steps is None else f"{self.steps} step{'s' * (self.steps != 1)}"
        if self.step_size is not None:
            steps += f" of {self.step_size:g}/255"
        parts = [
            steps,
            "" if self.confidence is None else f"confidence {self.confidence:g}",
            "" if self.overshoot is None else f"overshoot {self.overshoot:g}",
            "" if self.rounded else "not rounded",
            self.detail if self.threat == "transfer" else "",
        ]
        return ", ".join(filter(None, parts))


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an evaluation measured, and what it was measured with.

    Attributes:
        format: Version of this layout.
        name, title: Of the experiment.
        experiment: The experiment itself, as plain values.
        data: The images.
        classifier: What tables call it.
        labels: True class of each image.
        seed: Of sample and attacks.
        device, threads: Where it ran.
        processor: What its maker calls that; None where nothing tells.
        versions: Of everything that figures depend on.
        commit: Of the source tree; None where it was installed without one.
        seconds: How long all rows took.
        defenses: What was measured beside attacks.
        results: The rows; `rows` selects among them.
        checks: Sanity checks.
    """

    format: int = FORMAT
    name: str
    title: str
    experiment: dict[str, Any]
    data: Data
    classifier: str
    labels: tuple[int, ...] = ()
    seed: int = 0
    device: str
    threads: int
    processor: str | None = None
    versions: dict[str, str]
    commit: str | None
    seconds: float = 0.0
    defenses: tuple[Defense, ...] = ()
    results: tuple[Row, ...] = msgspec.field(name="rows")
    checks: tuple[Check, ...] = ()

    @property
    def defense_names(self) -> list[str]:
        """The defences, in the record's order."""
        names = [defense.name for defense in self.defenses]
        return list(dict.fromkeys([*names, *(row.defense for row in self.results)]))

    def defense(self, name: str) -> Defense:
        """Return what was measured of a defence beside attacks.

        Raises:
            LookupError: The record has no such defence.
        """
        for defense in self.defenses:
            if defense.name == name:
                return defense
        raise LookupError(f"{self.name}: no defence '{name}'; there are: {self.defense_names}")

    def rows(
        self,
        *,
        defense: Query[str] = ANY,
        threat: Query[str] = ANY,
        attack: Query[str | None] = ANY,
        norm: Query[str | None] = ANY,
        eps: Query[float | None] = ANY,
        variant: Query[str] = ANY,
    ) -> list[Row]:
        """Return the rows that fit, in the record's order.

        Without a defence there is nothing to know about, so every oblivious attack on the bare
        classifier counts as an adaptive one as well.

        Args:
            defense: Name of a defence.
            threat: ``clean``, or a name of `THREATS`.
            attack: An attack's name; None on clean images.
            norm: ``Linf`` or ``L2``; None on clean images.
            eps: The bound in units of 1/255; None where there is none.
            variant: As `Row.variant` says it.
        """

        def fits(row: Row) -> bool:
            threats = {row.threat}
            if row.defense == UNDEFENDED and row.threat == "oblivious":
                threats.add("adaptive")
            return (
                defense in (ANY, row.defense)
                and (threat is ANY or threat in threats)
                and attack in (ANY, row.attack)
                and norm in (ANY, row.norm)
                and eps in (ANY, row.eps)
                and variant in (ANY, row.variant)
            )

        return [row for row in self.results if fits(row)]

    def row(self, **query: Any) -> Row:
        """Return the one row that fits a query of `rows`.

        Raises:
            LookupError: There is none, or more than one.
        """
        found = self.rows(**query)
        if len(found) != 1:
            raise LookupError(f"{self.name}: {len(found)} rows fit {query}, not one")
        return found[0]

    def resubmissions(self, submissions: int, **query: Any) -> list[Resubmission]:
        """Return what rows leave where each image may be submitted so many times.

        Args:
            submissions: 1, 5 or 20.
            **query: As for `rows`; of what always answers the same there are none.
        """
        found = (each for row in self.rows(**query) for each in row.resubmitted)
        return [each for each in found if each.submissions == submissions]


def save_record(record: Record, path: Path) -> None:
    """Write a record as JSON, atomically.

    Raises:
        OutputError: It cannot be written.
    """
    save_json(record, path)


def load_record(path: Path) -> Record:
    """Read a record.

    Raises:
        DataMissingError: There is no such file.
        InputError: It holds no record, or one of another format.
    """
    return load_versioned(
        Record, path, FORMAT, "a record of an evaluation", "run the evaluation again"
    )
