"""The names that the shell completes, of what cannot be listed without torch."""

import json
import re
from collections.abc import Iterable

from comdefend import zoo
from comdefend.attacks import ATTACKS
from comdefend.classifiers import CLASSIFIERS
from comdefend.data.places import SOURCES
from comdefend.defenses import DEFENSES

PATH = "src/comdefend/cli/names.json"


def names() -> str:
    """Return them as JSON: kind -> names."""
    weights = [name for stored in zoo.weights() for name in _with_rates(stored)]
    found = {
        "attacks": list(ATTACKS),
        "classifiers": _beginnings(CLASSIFIERS),
        "data": _beginnings(SOURCES),
        "defenses": [*weights, *_beginnings(DEFENSES)],
        "weights": weights,
    }
    return json.dumps(found, indent=1) + "\n"


def _with_rates(name: str) -> list[str]:
    rates = zoo.load(name).config.bpps
    return [name, *(f"{name}@{bpp:g}" for bpp in rates if len(rates) > 1)]


def _beginnings(forms: Iterable[str]) -> list[str]:
    """Return what can be typed of each form: of ``jpeg:QUALITY`` the part before the capitals."""
    fixed = (re.match(r"[a-z0-9-]*(:(?=[A-Z])|:[a-z0-9]+$|$)", form) for form in forms)
    return list(dict.fromkeys(match[0] for match in fixed if match and match[0]))
