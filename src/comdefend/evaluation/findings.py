"""What an evaluation finds beside accuracy under attack, as parts of a record."""

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One sanity check.

    Attributes:
        name: What must hold.
        passed: Whether it does; None where it could not be checked.
        detail: The figures behind it.
    """

    name: str
    passed: bool | None
    detail: str


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of the images does to the code.

    Attributes:
        change: An attack's name, or ``random``.
        eps: The bound of the change, in units of 1/255.
        share: Share of the bits that flip.
        passed_on: RMS change of the purified images, divided by the RMS change of the images.
        kept: How much of the images' change comes out again: the coefficient of its projection, 1
            where nothing is lost and 0 where what comes out has nothing to do with it. None in
            records made before it was measured.
    """

    change: str
    eps: float
    share: float
    passed_on: float
    kept: float | None = None


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """What a purifier's code is like.

    Attributes:
        ones: Share of ones.
        abs_z_mean: Mean of the logits' |z|.
        quantiles: Probabilities at which ``abs_z_quantiles`` are given.
        abs_z_quantiles: Of |z|.
        flips: What changes of the images do to the code.
    """

    ones: float
    abs_z_mean: float
    quantiles: tuple[float, ...]
    abs_z_quantiles: tuple[float, ...]
    flips: tuple[Flip, ...] = ()


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """How well attacked images are told from clean ones.

    Attributes:
        attack, eps, threat: Of the attacked images; eps in units of 1/255.
        skipped: Why nothing was measured; the rest is then empty.
        auroc: Area under the ROC curve.
        false_positive_rate: What the threshold was set for.
        threshold: Scores above it are taken for attacks.
        false_positives: Share of clean images above the threshold.
        detected: Share of attacked images above it.
        fpr, tpr: The ROC curve.
    """

    attack: str
    eps: float | None
    threat: str
    skipped: str | None = None
    auroc: float | None = None
    false_positive_rate: float | None = None
    threshold: float | None = None
    false_positives: float | None = None
    detected: float | None = None
    fpr: tuple[float, ...] = ()
    tpr: tuple[float, ...] = ()


class Corruption(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy on images that were changed without an attacker.

    Attributes:
        corruption: What was done to them.
        images, accuracy, interval, correct: As for `Row`.
    """

    corruption: str
    images: int
    accuracy: float
    interval: tuple[float, float]
    correct: str = ""


class Resubmission(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy where each image may be submitted several times, and one wrong answer is enough.

    For what draws at random (DiffHammer, Wang et al., NeurIPS 2024; DiffBreak, Kassis et al.,
    NeurIPS 2025): the mean over draws hides that an attacker may try again. A submission is one
    image by itself, answered by one draw. The draws are a function of seed, image and number: all
    rows meet the same ones, so that the worst of several rows owes little to luck.

    Attributes:
        submissions: How often each image is submitted at most.
        images, accuracy, interval, correct: As for `Row`, of the images that are classified
            correctly every time.
    """

    submissions: int
    images: int
    accuracy: float
    interval: tuple[float, float]
    correct: str


SUBMISSIONS = (1, 5, 20)
"""How often images are submitted to what draws at random."""


class Defense(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a defence beside attacks.

    Attributes:
        name: What tables call it.
        purifier, classifier: Where they come from.
        random: Whether it, or the classifier behind it, draws at random.
        random_classifier: Whether the classifier behind it does.
        psnr: Of purified clean images, in dB; None for the bare classifier.
        bpp: Bits per pixel of its code; None where it has none.
        code: The code's statistics; None where it has none.
        detection: Of the usual oblivious attack; None where it was not measured.
        corruptions: Accuracies on corrupted images.
    """

    name: str
    purifier: str
    classifier: str
    random: bool = False
    random_classifier: bool = False
    psnr: float | None = None
    bpp: float | None = None
    code: Code | None = None
    detection: Detection | None = None
    corruptions: tuple[Corruption, ...] = ()
