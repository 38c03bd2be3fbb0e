"""The page, and what came of a trial, as HTML; every text is escaped."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from comdefend.app.choices import (
    CLASSIFIERS,
    MAX_EPS,
    OFFERED_ATTACKS,
    PURIFIERS,
    STEPS,
    USUAL_RATE,
    rates,
)
from comdefend.app.photograph import MAX_MEGABYTES, MAX_MEGAPIXELS
from comdefend.app.pictures import (
    CODE_MAPS,
    address,
    code_picture,
    magnification,
    perturbation,
)
from comdefend.app.trial import Seen, Trial
from comdefend.app.turns import AT_ONCE
from comdefend.data.shipped import photograph_files
from comdefend.demo.scenes import EPS

_COLUMNS = {
    "clean": ("Clean", "Nobody attacks."),
    "oblivious": ("Oblivious attack", "The attacker knows the classifier, not the purifier."),
    "adaptive": ("Adaptive attack", "The attacker knows both, and attacks through the purifier."),
}
# Smaller images are shown with their pixels as squares.
_TINY = 100


@dataclass(frozen=True)
class _Column:
    """What is shown of one image on its way; pictures are addresses."""

    name: str
    title: str
    about: str
    seen: Seen | None
    image: str = ""
    perturbation: str = ""
    code: str = ""
    purified: str = ""


def page() -> str:
    """Return the page on which nothing was tried yet."""
    return _filled(
        "page.html",
        examples=photograph_files(),
        classifiers=CLASSIFIERS,
        purifiers={name: (title, rates(name)) for name, title in PURIFIERS.items()},
        attacks=OFFERED_ATTACKS,
        steps=STEPS,
        usual_rate=USUAL_RATE,
        eps=EPS,
        max_eps=MAX_EPS,
        megabytes=MAX_MEGABYTES,
        megapixels=MAX_MEGAPIXELS,
        at_once=AT_ONCE,
    )


def result(trial: Trial) -> str:
    """Return what is known of a trial so far."""
    return _filled(
        "result.html",
        columns=[_column(trial, name) for name in _COLUMNS],
        code_maps=min(CODE_MAPS, len(trial.clean.code)),
        all_maps=len(trial.clean.code),
        magnification=magnification(trial.chosen.eps),
        tiny=trial.clean.image.shape[-1] < _TINY,
    )


def verdict(trial: Trial) -> str:
    """Return what came of it, a sentence for each thing that is known; plain text."""
    alone, defended = trial.clean.alone.label, trial.clean.defended
    said = [f"The classifier says “{alone}”."]
    if not defended.right:
        said = [f"The purifier alone turns the answer from “{alone}” into “{defended.label}”."]
    if (seen := trial.oblivious) is not None:
        said.append(_oblivious(seen))
    if (seen := trial.adaptive) is not None:
        said.append(_adaptive(trial, seen))
    return " ".join(said)


def _oblivious(seen: Seen) -> str:
    if seen.alone.right:
        attack = "The attack does not change its answer"
    else:
        attack = f"Attacked, it says “{seen.alone.label}”"
    if seen.defended.right:
        return attack + ("." if seen.alone.right else "; purified, the clean answer is back.")
    return f"{attack}; purified, it says “{seen.defended.label}”."


def _adaptive(trial: Trial, seen: Seen) -> str:
    if not seen.defended.right:
        wrong = seen.defended.label
        return f"An attacker who knows the purifier still gets “{wrong}”: plan with that."
    others = (trial.clean, trial.oblivious)
    if all(other is None or other.defended.right for other in others):
        return (
            "An attacker who knows the purifier does not get through here; a stronger attack may."
        )
    return "An attacker who knows the purifier can do that as well."


def _column(trial: Trial, name: str) -> _Column:
    seen: Seen | None = getattr(trial, name)
    if seen is None:
        return _Column(name, *_COLUMNS[name], None)
    change = perturbation(seen.image, trial.clean.image, trial.chosen.eps)
    return _Column(
        name, *_COLUMNS[name], seen, address(seen.image),
        "" if name == "clean" else address(change),
        address(code_picture(seen.code)), address(seen.purified),
    )  # fmt: skip


def _filled(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("comdefend.app"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
