"""Certifying from Python: one function, and what it returns."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from comdefend.certification.record import (
    CertificationRecord,
    Image,
    load_certification,
    save_certification,
)
from comdefend.certification.run import Certification, Progress
from comdefend.certification.settings import ATTACKED, DRAWS, Settings
from comdefend.common.atomic import atomic_write
from comdefend.common.schema import build
from comdefend.data.image_set import ImageSet
from comdefend.defenses import DefendedClassifier
from comdefend.evaluation.given import (
    Given,
    data_name,
    image_set,
    named_defenses,
    own_classifier,
)
from comdefend.evaluation.record import UNDEFENDED
from comdefend.nn.batches import device_of
from comdefend.report.certified import certificate_html, certificate_table, certificate_text


class Certificate:
    """What a certification proved: a table where it is shown, and each image.

    Args:
        record: Everything that was proven and measured.
    """

    def __init__(self, record: CertificationRecord) -> None:
        self.record = record

    @classmethod
    def load(cls, path: str | Path) -> "Certificate":
        """Read what `save` wrote.

        Raises:
            DataMissingError: There is no such file.
            InputError: It holds no record of a certification.
        """
        return cls(load_certification(Path(path)))

    @property
    def images(self) -> tuple[Image, ...]:
        """What was found of each image, in the order of the sample; see ``place`` of `Image`."""
        return self.record.images

    def report(self, path: str | Path) -> None:
        """Write the report, one HTML file that needs nothing else.

        Raises:
            OutputError: The file cannot be written.
        """
        # The charting library takes seconds to import.
        from comdefend.report.certified_page import write_certificate

        write_certificate(self.record, Path(path))

    def save(self, path: str | Path) -> None:
        """Write the record as JSON.

        Raises:
            OutputError: The file cannot be written.
        """
        save_certification(self.record, Path(path))

    def __repr__(self) -> str:
        return certificate_text(self.record)

    def _repr_html_(self) -> str:
        return certificate_html(self.record)


def certify(
    classifier: nn.Module | str,
    images: Tensor | np.ndarray | None = None,
    labels: Tensor | np.ndarray | Sequence[int] | None = None,
    *,
    sigma: float,
    data: Any = None,
    defense: str | nn.Module | None = None,
    n: int = DRAWS,
    sample: int | None = None,
    attacked: int = ATTACKED,
    engine: str = "auto",
    precision: str = "float32",
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
) -> Certificate:
    """Prove within which L2 radius no change of an image alters the answer.

    The answer is that of the smoothed classifier: each image is purified and classified under many
    draws of normal noise, and the class that comes most often is the answer (Cohen et al. 2019;
    with a purifier as the denoiser, Salman et al. 2020). Each certificate holds with probability
    99.9 %. Some images are attacked too: what is left there, beyond what is proven, is the price of
    a proof.

    Args:
        classifier: Images in [0, 1] to logits: an ``nn.Module`` in evaluation mode, for example a
            `DefendedClassifier`, or a name as `open_classifier` takes it.
        images: (N, C, H, W) in [0, 1], or uint8; to be given with ``labels``.
        labels: (N,) integers.
        sigma: Standard deviation of the noise, for images in [0, 1]: above 0, at most 1.
        data: Instead of the two: a data set, as `load_image_set` names it, or a
            ``datasets.Dataset`` (Hugging Face) with a column of images and one of class labels.
        defense: The purifier: a name as `load_defense` takes it, or an ``nn.Module``, images to
            images. By default that of a `DefendedClassifier`, and otherwise none.
        n: Draws of noise for each image, from 100: 1,000 reach radii of 2.46 sigma at most, 10,000
            of 3.20 sigma, 100,000 of 3.81 sigma.
        sample: Use so many of the images, drawn at random; 0 for all. By default all images in
            memory, and 100 of a data set.
        attacked: So many of them are attacked too; 0 for none.
        engine: What computes the purifier, as for `open_engine`.
        precision: In which precision: another one is another base classifier.
        checkpoint, mean, std, classes, resize, crop, skip_unreadable: As for `evaluate`.
        seed: Of sample, noise and attacks.
        device: Where models run; by default where the classifier is.
        output: A folder. It receives ``record.json``, ``table.md``, ``certified.svg`` and
            ``report.html``, and keeps finished images: the same call goes on where it was stopped.
            By default nothing is kept.
        progress: Told what is being done, the number of finished images, and of all images.

    Raises:
        InputError: Something does not fit, is out of its range, or draws at random.
        InputTypeError: Something has the wrong type.
        DataMissingError: Data or weights are missing.
        ExtraMissingError: A library that is needed is not installed.
        OutputError: The folder cannot be written.
    """
    memory = image_set(images, labels, data)
    own = own_classifier(classifier, mean, std)
    shield: str | nn.Module = UNDEFENDED if defense is None else defense
    if isinstance(own, DefendedClassifier) and defense is None:
        shield, own = own.purifier, own.classifier
    shields = named_defenses(shield)
    (name,) = shields
    values = {
        "data": data_name(data, memory),
        "classifier": classifier if isinstance(classifier, str) else type(own).__name__,
        "defense": name,
        "sigma": sigma,
        "n": n,
        "images": sample if sample is not None else 0 if isinstance(memory, ImageSet) else 100,
        "attacked": attacked,
        "engine": engine,
        "precision": precision,
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
    modules = {key: module for key, module in shields.items() if module is not None}
    place = device or ("cpu" if own is None else str(device_of(own)))
    settings = build(Settings, values, "certify")
    return _run(settings, output, place, progress, Given(memory, own, modules))


def _run(
    settings: Settings, output: str | Path | None, device: str, progress: Progress, given: Given
) -> Certificate:
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory()) if output is None else None
        folder = Path(output or str(temporary))
        certificate = Certificate(
            Certification(settings, folder, device, progress, given).measure()
        )
    if output is not None:
        from comdefend.report.certified_page import certified_curve

        certificate.save(folder / "record.json")
        table = certificate_table(certificate.record)
        atomic_write(folder / "table.md", table.encode())
        atomic_write(folder / "certified.svg", certified_curve(certificate.record).svg.encode())
        certificate.report(folder / "report.html")
    return certificate
