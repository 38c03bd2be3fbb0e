"""All attacks by name, and a user's own."""

import msgspec

from comdefend.attacks.art import ART_BIM, ART_CARLINI_WAGNER, ART_DEEPFOOL, ART_PGD
from comdefend.attacks.attack import Attack
from comdefend.attacks.autoattack import AUTOATTACK, SQUARE
from comdefend.attacks.early_stop import BIM_EARLY, FGSM_EARLY
from comdefend.attacks.gradient_sign import BIM, FGSM, MI_FGSM, PGD
from comdefend.attacks.hopskipjump import HOPSKIPJUMP
from comdefend.attacks.own import from_callable
from comdefend.attacks.smallest_change import CARLINI_WAGNER, DEEPFOOL
from comdefend.common.user_code import is_user_spec, load_object
from comdefend.errors import InputError
from comdefend.nn.described import described

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        FGSM, BIM, PGD, MI_FGSM, DEEPFOOL, CARLINI_WAGNER, HOPSKIPJUMP, AUTOATTACK, SQUARE,
        FGSM_EARLY, BIM_EARLY, ART_BIM, ART_PGD, ART_DEEPFOOL, ART_CARLINI_WAGNER,
    )
}  # fmt: skip
"""Name -> attack."""


def find_attack(spec: str) -> Attack:
    """Return an attack by its name.

    Args:
        spec: A name of `ATTACKS`, or ``package.module:function`` for a user's own: a function as
            `from_callable` takes it, or an `Attack`. The current directory is importable, as for
            ``python -m``. This runs the module's code.

    Raises:
        InputError: Unknown, or the user's code cannot be imported.
        InputTypeError: The user's object is neither callable nor an `Attack`.
    """
    if spec in ATTACKS:
        return ATTACKS[spec]
    if not is_user_spec(spec) or spec.partition(":")[0] in ATTACKS:
        known = ", ".join(ATTACKS)
        raise InputError(f"unknown attack '{spec}'; known: {known}, or package.module:function")
    found = load_object(spec)
    if isinstance(found, Attack):
        return msgspec.structs.replace(found, fingerprint=described(found.run))
    return from_callable(found, spec)
