"""Single figures of evaluations, as prose quotes them."""

from collections.abc import Sequence
from typing import Any

from comdefend.evaluation.record import ANY, UNDEFENDED, Record
from comdefend.evaluation.statistics import Comparison, Judged, Share, compare, worst_case
from comdefend.report.summary import percent


def share_of(rows: Sequence[Judged]) -> float:
    """Return the accuracy under the worst of these attacks, image by image."""
    return _worst_case(rows).accuracy


def images_of(rows: Sequence[Judged]) -> int:
    """Return how many images that accuracy stands on."""
    return _worst_case(rows).images


def _worst_case(rows: Sequence[Judged]) -> Share:
    share = worst_case(rows)
    if share is None:
        raise LookupError("a document quotes a figure that its record does not have")
    return share


def p_value(p: float) -> str:
    """Return a p-value with its sign: ``= 0.034`` or ``< 0.0001``."""
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}" if p < 0.1 else f"= {p:.2f}"


def outcome(change: Comparison) -> str:
    """Return what a comparison image by image came to."""
    return f"{change.lost} lost, {change.won} won, p {p_value(change.p_value)}"


class Figures:
    """What templates ask an evaluation for; eps in units of 1/255, figures in percent.

    Without the name of an attack, a figure counts for each image the worst of all attacks of that
    threat model within the bound.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def clean(self, defense: str = "none") -> str:
        """Accuracy on clean images."""
        return percent(share_of(self.record.rows(defense=defense, threat="clean")))

    def oblivious(self, defense: str, eps: float | None = 8, attack: str = "bim", **to: Any) -> str:
        """Accuracy under an attack that does not know about the defence."""
        return self._share(defense, "oblivious", eps, attack, **to)

    def adaptive(self, defense: str, eps: float | None = 8, attack: Any = ANY, **to: Any) -> str:
        """Accuracy under attacks through the defence."""
        return self._share(defense, "adaptive", eps, attack, **to)

    def adaptive_images(self, defense: str, eps: float = 8) -> int:
        """How many images an adaptive figure stands on."""
        return images_of(self.record.rows(defense=defense, threat="adaptive", eps=eps))

    def transfer(self, defense: str, eps: float | None = 8, attack: str = "bim", **to: Any) -> str:
        """Accuracy under an attack made on the first classifier, or on that of the variant."""
        return self._share(defense, "transfer", eps, attack, **to)

    def pair(self, defense: str, eps: float | None = 8, attack: str = "bim") -> str:
        """Accuracy under an attack that does not know about the defence, and if it does."""
        through = ANY if eps is not None else attack
        return f"{self.oblivious(defense, eps, attack)} / {self.adaptive(defense, eps, through)}"

    def numbers(self, defense: str, eps: float | None = 8, attack: str = "bim") -> str:
        """Say on how many images the two figures of a pair stand."""
        through = ANY if eps is not None else attack
        made = [("oblivious", attack), ("adaptive", through)]
        found = (self.record.rows(defense=defense, threat=t, attack=a, eps=eps) for t, a in made)
        return " / ".join(f"{images_of(rows)}" for rows in found)

    def query(self, defense: str, eps: float | None = 8, attack: str = "square") -> str:
        """Accuracy under an attack that sees only answers."""
        return self._share(defense, "query", eps, attack)

    def resubmitted(
        self, defense: str, submissions: int, eps: float | None = 8, threat: str = "adaptive"
    ) -> str:
        """Accuracy where each image may be submitted so many times."""
        left = self.record.resubmissions(submissions, defense=defense, threat=threat, eps=eps)
        return percent(share_of(left))

    def count(self, defense: str, eps: float = 8, attack: Any = ANY, first: int = 0) -> int:
        """Number of images left right under adaptive attacks, of all or of the first few."""
        share = [
            row.correct[: first or None]
            for row in self.record.rows(defense=defense, threat="adaptive", attack=attack, eps=eps)
        ]
        return sum(set(image) == {"1"} for image in zip(*share, strict=False))

    def counts(self, eps: float, attack: Any = ANY, first: int = 0) -> str:
        """The fewest and the most images left right behind any of the defences."""
        found = [self.count(name, eps, attack, first) for name in self._defenses]
        return f"{min(found)} to {max(found)}"

    def gains(self, eps: float, attack: Any = ANY) -> str:
        """What all defences win and lose beside none, image by image."""
        found = [
            compare(
                self.record.rows(defense=UNDEFENDED, threat="adaptive", attack=attack, eps=eps),
                self.record.rows(defense=name, threat="adaptive", attack=attack, eps=eps),
            )
            for name in self._defenses
        ]
        won, lost = [change.won for change in found], max(change.lost for change in found)
        largest = max(change.p_value for change in found)
        level = next(level for level in (0.0001, 0.001, 0.01, 0.05, 1.01) if largest < level)
        return f"{min(won)} to {max(won)} won, at most {lost} lost, p < {level:g} each"

    def corrupted(self, defense: str, corruption: str) -> str:
        """Accuracy on images changed without an attacker."""
        found = self.record.defense(defense).corruptions
        return percent(next(c.accuracy for c in found if c.corruption == corruption))

    def kept(self, defense: str, change: str = "bim", eps: float = 8) -> str:
        """Share of a perturbation that comes out of the purifier again."""
        code = self.record.defense(defense).code
        flips = code.flips if code else ()
        kept = next(f.kept for f in flips if (f.change, f.eps) == (change, eps))
        return percent(kept or 0.0)

    def change(
        self,
        before: str,
        after: str,
        eps: float | None = 8,
        threat: str = "adaptive",
        attack: Any = ANY,
    ) -> str:
        """Say how two defences compare on the images that both were attacked on."""
        both = [
            self.record.rows(defense=defense, threat=threat, attack=attack, eps=eps)
            for defense in (before, after)
        ]
        return outcome(compare(*both))

    @property
    def _defenses(self) -> list[str]:
        return [name for name in self.record.defense_names if name != UNDEFENDED]

    @property
    def images(self) -> int:
        """Size of the sample."""
        return self.record.data.images

    def _share(
        self, defense: str, threat: str, eps: float | None, attack: Any, digits: int = 0,
        variant: Any = ANY,
    ) -> str:  # fmt: skip
        rows = self.record.rows(
            defense=defense, threat=threat, attack=attack, eps=eps, variant=variant
        )
        return percent(share_of(rows), digits)
