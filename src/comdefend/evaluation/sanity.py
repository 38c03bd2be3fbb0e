"""What must hold of any sound evaluation, whatever the defence.

After Carlini et al. 2019, "On Evaluating Adversarial Robustness", Section 5. A check that fails
says that an attack is too weak to be believed, and goes into the record as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comdefend.evaluation.record import wilson_interval


@dataclass(frozen=True)
class Left:
    """How many images PGD leaves, each attack by itself.

    Attributes:
        images: Number of images attacked.
        eps: The bound, in units of 1/255.
        unbounded: Adaptive, 20 steps, without a bound.
        few: Adaptive, 5 steps.
        many: Adaptive, 20 steps.
        oblivious: Made on the bare classifier, 20 steps.
        standing: Which of the images stand after the adaptive 20 steps, "1" for one that does.
    """

    images: int
    eps: float
    unbounded: int
    few: int
    many: int
    oblivious: int
    standing: str


def check_attacks(left: Left) -> list[dict[str, Any]]:
    """Return what the attacks on one defence must fulfil, and whether they do."""
    return [
        check(
            "without a bound nothing is left",
            left.unbounded == 0,
            f"PGD-20 within 255/255 leaves {left.unbounded} of {left.images} images",
        ),
        check(
            "more steps never help the defender",
            left.many <= left.few,
            f"PGD within {left.eps:g}/255: {left.few} of {left.images} images stand after 5 steps, "
            f"{left.many} after 20",
        ),
        check(
            "adaptive is never weaker than oblivious",
            left.many <= left.oblivious,
            f"PGD-20 within {left.eps:g}/255, each by itself: adaptive leaves {left.many} of "
            f"{left.images} images, oblivious {left.oblivious}",
        ),
    ]


def check_queries(rows: Sequence[dict[str, Any]], left: Left) -> list[dict[str, Any]]:
    """Return whether attacks without gradients do worse than those with, as they must.

    Args:
        rows: Those of one defence.
        left: What attacks with gradients leave.
    """
    checks = []
    for row in (r for r in rows if r["threat"] == "query"):
        count = min(row["images"], left.images)
        query, gradient = row["correct"][:count].count("1"), left.standing[:count].count("1")
        comparable = row["eps"] == left.eps
        others = f"PGD-20 {gradient}" if comparable else "PGD was not measured within this bound"
        checks.append(
            check(
                "attacks without gradients never beat those with",
                gradient <= query if comparable else None,
                f"{row['attack']} within {row['eps']:g}/255 leaves {query} of {count} images, "
                f"{others}",
            )
        )
    return checks


def check_clean(hits: int, images: int, classes: int) -> dict[str, Any]:
    """Return whether a classifier does better than to guess.

    One that normalises twice, or sees other channels or classes than it was trained on, does not,
    and nothing that is measured with it means anything.
    """
    passed = wilson_interval(hits, images)[0] > 1 / classes
    hint = "" if passed else "; look for images that are normalised twice, or not at all"
    return check(
        "clean accuracy is better than guessing",
        passed,
        f"{hits} of {images} images, {classes} classes{hint}",
    )


def check(name: str, passed: bool | None, detail: str) -> dict[str, Any]:
    """Return a check as records hold it; ``passed`` is None where it could not be made."""
    return {"name": name, "passed": passed, "detail": detail}
