"""Records of certifications: typed, as JSON on disk."""

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from comdefend.certification.settings import Settings
from comdefend.certification.smoothing import Certified
from comdefend.common.json_files import load_versioned, save_json
from comdefend.evaluation.record import UNDEFENDED, Data
from comdefend.evaluation.statistics import Share, share_of

FORMAT = 1

STEP = 0.25
"""Certified accuracy is reported at multiples of this radius, as in the literature."""
_FEWEST = 2


class Image(Certified, frozen=True, kw_only=True):
    """What was found of one image, and what it shows.

    Attributes:
        label: Its true class.
        place: Its place among the images that were given in memory; None for a data set's.
    """

    label: int
    place: int | None = None

    def withstands(self, radius: float) -> bool:
        """Return whether it is proven that the answer is right throughout this radius."""
        return self.answer == self.label and self.radius >= radius


class Attacked(msgspec.Struct, frozen=True, kw_only=True):
    """What L2 attacks did to one image, for each radius of the record "1" or "0".

    Attributes:
        smoothed: The smoothed classifier still answers correctly, whatever was tried within it; an
            abstention counts as wrong.
        bare: So does the classifier alone.
        contradicted: An attack within the certified radius changed the answer to another class,
            which the certificate excludes.
    """

    smoothed: str
    bare: str
    contradicted: bool


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What holds at one radius.

    Attributes:
        radius: In L2, for images in [0, 1].
        linf: The largest L-infinity ball that lies within, in units of 1/255.
        certified: Images with the right answer and a certified radius of at least this.
        compared: The same, of those images that were attacked; None where none was.
        smoothed: Accuracy of the smoothed classifier under attack, on the same images.
        bare: That of the classifier alone, under the same attack.
    """

    radius: float
    linf: float
    certified: Share
    compared: Share | None = None
    smoothed: Share | None = None
    bare: Share | None = None


class CertificationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was proven and measured, and with what.

    Attributes:
        format: Version of this layout.
        title: One line for people.
        settings: What was asked for; ``engine`` and ``precision`` are those that computed.
        classifier_engine: What computed the classifier, in float32.
        data: The images.
        device, threads: Where it ran.
        processor: What its maker calls that; None where nothing tells.
        versions: Of everything that figures depend on.
        commit: Of the source tree; None where it was installed without one.
        seconds: How long all images took.
        abstained: Images without an answer.
        stopped: Those of them that were given up early.
        mean_radius: Over all images, where a wrong or missing answer counts as 0.
        largest_radius: The most that n and alpha allow at this sigma.
        steps, draws: Of the attack: its steps, and the draws that each averages.
        judged: Draws by which the smoothed classifier answers an attacked image.
        levels: Accuracy by radius.
        images: Image by image.
        attacked: The first of them, under attack.
    """

    format: int = FORMAT
    title: str
    settings: Settings
    classifier_engine: str = "torch"
    data: Data
    device: str
    threads: int
    processor: str | None = None
    versions: dict[str, str]
    commit: str | None
    seconds: float
    abstained: int
    stopped: int
    mean_radius: float
    largest_radius: float
    steps: int
    draws: int
    judged: int
    levels: tuple[Level, ...]
    images: tuple[Image, ...]
    attacked: tuple[Attacked, ...] = ()

    @property
    def contradicted(self) -> int:
        """Images whose certificate an attack contradicts; more than chance means a mistake."""
        return sum(image.contradicted for image in self.attacked)

    @property
    def proven(self) -> str:
        """What the certificate says, and of what."""
        asked = self.settings
        what = asked.classifier
        if asked.defense != UNDEFENDED:
            what = (
                f"{asked.defense} (computed by {asked.engine} in {asked.precision}) in front of "
                f"{what} (by {self.classifier_engine} in float32)"
            )
        return (
            f"Proven, for each image with probability {100 * (1 - asked.alpha):g} %: no change of "
            "L2 length below its radius alters the answer of the smoothed classifier, the majority "
            f"of the answers of {what} under normal noise of sigma {asked.sigma:g}. Nothing is "
            "proven of the classifier alone, nor of both without the noise."
        )


def radii_within(largest: float) -> tuple[float, ...]:
    """Return the radii to report: multiples of `STEP` up to the largest that can be certified.

    Where fewer than two fit besides 0, the step is halved until they do.

    Args:
        largest: Above 0.
    """
    step = STEP
    while largest < _FEWEST * step:
        step /= 2
    return tuple(step * k for k in range(math.floor(largest / step) + 1))


def linf_within(radius: float, values: int) -> float:
    """Return the bound of the largest L-infinity ball in an L2 ball, in units of 1/255.

    A change of every value by eps has the L2 length eps * sqrt(values).

    Args:
        radius: Of the L2 ball, for images in [0, 1].
        values: Numbers in an image.
    """
    return 255 * radius / math.sqrt(values)


def levels_of(
    radii: Sequence[float], values: int, images: Sequence[Image], attacked: Sequence[Attacked]
) -> tuple[Level, ...]:
    """Return what holds at each radius.

    Args:
        radii: From small to large.
        values: Numbers in an image.
        images: What was found.
        attacked: What attacks did to the first of them, at these radii.
    """
    levels = []
    for place, radius in enumerate(radii):
        proven = "".join("1" if image.withstands(radius) else "0" for image in images)
        known = "".join(image.smoothed[place] for image in attacked)
        alone = "".join(image.bare[place] for image in attacked)
        compared, smoothed, bare = (
            share_of(bits) if bits else None for bits in (proven[: len(attacked)], known, alone)
        )
        levels.append(
            Level(
                radius=radius,
                linf=linf_within(radius, values),
                certified=share_of(proven),
                compared=compared,
                smoothed=smoothed,
                bare=bare,
            )
        )
    return tuple(levels)


def save_certification(record: CertificationRecord, path: Path) -> None:
    """Write a record as JSON, atomically.

    Raises:
        OutputError: It cannot be written.
    """
    save_json(record, path)


def load_certification(path: Path) -> CertificationRecord:
    """Read a record.

    Raises:
        DataMissingError: There is no such file.
        InputError: It holds no record of a certification, or one of another format.
    """
    return load_versioned(
        CertificationRecord, path, FORMAT, "a record of a certification", "certify again"
    )
