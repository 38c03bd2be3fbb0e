"""Attacks by name, from Foolbox and AutoAttack.

An attack on the bare classifier is oblivious; the same attack on a `DefendedClassifier` is
adaptive. `comdefend.attacks.adaptive` holds what an adaptive attacker does besides.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from comdefend.common.extras import require
from comdefend.errors import InputError, InputTypeError


@dataclass(frozen=True)
class Attack:
    """What there is to know of an attack before it is run.

    Attributes:
        name: Its key in `ATTACKS`.
        title: As people write it.
        norm: "Linf": bounded by eps. "L2": looks for the smallest perturbation.
        kind: "gradient" needs gradients, "query" only the model's answers; an "ensemble" does both.
        steps: Steps where none are asked for; None if the attack has none.
        about: What it does, and the paper.
    """

    name: str
    title: str
    norm: Literal["Linf", "L2"]
    kind: Literal["gradient", "query", "ensemble"]
    steps: int | None
    about: str


ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack(
            "fgsm",
            "FGSM",
            "Linf",
            "gradient",
            None,
            "one step of eps along the gradient's sign (Goodfellow et al. 2015)",
        ),
        Attack(
            "bim",
            "BIM",
            "Linf",
            "gradient",
            10,
            "steps of eps/4 along the gradient's sign (Kurakin et al. 2017)",
        ),
        Attack(
            "pgd",
            "PGD",
            "Linf",
            "gradient",
            20,
            "steps of eps/4 from a random start (Madry et al. 2018)",
        ),
        Attack(
            "mi-fgsm",
            "MI-FGSM",
            "Linf",
            "gradient",
            10,
            "steps of eps/steps with momentum 1 (Dong et al. 2018)",
        ),
        Attack(
            "deepfool",
            "DeepFool",
            "L2",
            "gradient",
            50,
            "steps to the nearest linearised decision boundary (Moosavi-Dezfooli et al. 2016)",
        ),
        Attack(
            "cw",
            "C&W",
            "L2",
            "gradient",
            100,
            "Adam on margin and size, five searches for their balance (Carlini and Wagner 2017)",
        ),
        Attack(
            "hopskipjump",
            "HopSkipJump",
            "Linf",
            "query",
            15,
            "along the decision boundary, by predicted classes alone (Chen et al. 2020)",
        ),
        Attack(
            "autoattack",
            "AutoAttack",
            "Linf",
            "ensemble",
            None,
            "APGD-CE, targeted APGD-DLR, targeted FAB and Square (Croce and Hein 2020)",
        ),
        Attack(
            "square",
            "Square",
            "Linf",
            "query",
            5000,
            "random squares, by logits alone, a query a step (Andriushchenko et al. 2020)",
        ),
    )
}
"""Name -> attack."""

# Given Foolbox's attacks and a number of steps. Steps of eps/4 unless those would not reach the
# ball's border. Foolbox's MI-FGSM sums signs of gradients where the paper sums gradients divided
# by their L1 norm.
_FOOLBOX: dict[str, Callable[[Any, int], Any]] = {
    "fgsm": lambda attacks, steps: attacks.LinfFastGradientAttack(),
    "bim": lambda attacks, steps: attacks.LinfBasicIterativeAttack(
        rel_stepsize=max(0.25, 1 / steps), steps=steps, random_start=False
    ),
    "pgd": lambda attacks, steps: attacks.LinfPGD(
        rel_stepsize=max(0.25, 1 / steps), steps=steps, random_start=True
    ),
    "mi-fgsm": lambda attacks, steps: attacks.LinfMomentumIterativeFastGradientMethod(
        momentum=1.0, rel_stepsize=1 / steps, steps=steps, random_start=False
    ),
    "deepfool": lambda attacks, steps: attacks.L2DeepFoolAttack(steps=steps),
    # Steps of 0.01, the library's default, are too small for so few of them: black pixels lie far
    # out in the space that is searched. The constant goes up to 1000.
    "cw": lambda attacks, steps: attacks.L2CarliniWagnerAttack(
        binary_search_steps=5, steps=steps, stepsize=0.1, initial_const=0.1
    ),
    "hopskipjump": lambda attacks, steps: attacks.HopSkipJumpAttack(steps=steps, constraint="linf"),
}

# Images of noise among HopSkipJump's starting points.
_NOISE_STARTS = 100
# The DLR loss divides by a difference of the largest logits: first to third, or in its targeted
# form first to third and fourth. AutoAttack's parts that need it, and the classes they need.
_CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}
_TARGETS = 9


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: str,
    eps: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    random: bool = False,
    rounded: bool = True,
) -> Tensor:
    """Attack a model and return what was found as images.

    Gradient attacks return for each image where they ended, be it misclassified or not. Query
    attacks and AutoAttack return the clean image where they found nothing within eps. C&W does
    so where it found nothing at all.

    Attacks of norm L2 look for the smallest perturbation, and without eps return it whatever its
    size. With eps, each of its values is clipped to eps, which is how the ComDefend paper states
    DeepFool and C&W at eps 2, 8 and 16. Clipping weakens these attacks: what was just past the
    decision boundary falls short of it again. An L-infinity attack of the same eps is the stronger
    test.

    Rounding to 8 bits can undo a minimal L2 perturbation in the same way, as most of its values
    are below 1/255. It tells whether an attack survives in an image file; to measure the
    attack itself, take ``rounded=False``.

    HopSkipJump takes thousands of queries an image with its 15 steps, and room for several hundred
    copies of the images; Square takes a query a step. AutoAttack leaves out the parts whose loss
    needs more classes than the model has (targeted APGD below four, APGD-DLR below three), and
    warns through the logger "auto-attack" of models that it may not judge rightly.

    Args:
        model: Images in [0, 1] to logits (N, classes), in evaluation mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64, the true classes. Images that are misclassified already are attacked
            as the others.
        attack: A name of `ATTACKS`.
        eps: Bound of the perturbation's largest value, in units of 1/255, above 0 and at most 255.
            Needed for attacks of norm Linf.
        steps: Steps of an iterative attack, that of `ATTACKS` by default; an attack without steps
            ignores it.
        seed: Seed of all that is random, noise that the model takes from torch's global generator
            included; that generator is left as it was.
        random: The model's answers are random: AutoAttack then takes its version "rand", which
            averages gradients over 20 draws. For other attacks, see `Expectation`.
        rounded: Round to 8 bits, as a file would hold the images.

    Returns:
        (N, C, H, W) in [0, 1]. When rounded, multiples of 1/255, and within a whole eps of 8-bit
        images.

    Raises:
        InputError: Unknown attack, bad eps or steps, a model in training mode, images or labels
            of the wrong shape or range, or HopSkipJump on a model whose answers are random.
        InputTypeError: The images are not float or the labels not int64.
        ExtraMissingError: The attack's library is not installed.
    """
    _check_use(model, attack, eps, steps)
    _check_images(images, labels)
    images = images.detach().contiguous()
    steps = ATTACKS[attack].steps or 1 if steps is None else steps
    # No perturbation of images in [0, 1] is larger than 1.
    bound = 1.0 if eps is None else eps / 255
    with _frozen(model), torch.random.fork_rng():
        torch.manual_seed(seed)
        if attack == "autoattack":
            found = _autoattack(model, images, labels, bound, seed, random)
        elif attack == "square":
            found = _square(model, images, labels, bound, steps, seed)
        elif attack == "hopskipjump":
            found = _hopskipjump(model, images, labels, bound, steps)
        elif ATTACKS[attack].norm == "L2":
            found = _smallest(model, images, labels, attack, bound, steps)
        else:
            runner, attacked = _foolbox(model, images, attack, steps)
            _, found, _ = runner(attacked, images, labels, epsilons=bound)
    found = found.detach()
    return (found * 255).round() / 255 if rounded else found.clamp(0, 1)


def _foolbox(model: nn.Module, images: Tensor, attack: str, steps: int) -> tuple[Any, Any]:
    """Return the attack and the model as Foolbox knows them."""
    foolbox = require("foolbox", "demo")
    runner = _FOOLBOX[attack](foolbox.attacks, steps)
    return runner, foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)


def _smallest(
    model: nn.Module, images: Tensor, labels: Tensor, attack: str, bound: float, steps: int
) -> Tensor:
    runner, attacked = _foolbox(model, images, attack, steps)
    found, _, _ = runner(attacked, images, labels, epsilons=None)
    # Foolbox's C&W returns black where it found nothing, and a black image is misclassified too.
    nothing = (found == 0).flatten(1).all(1)
    found = torch.where(nothing.view(-1, 1, 1, 1), images, found)
    return found.clamp(images - bound, images + bound)


def _hopskipjump(
    model: nn.Module, images: Tensor, labels: Tensor, bound: float, steps: int
) -> Tensor:
    runner, attacked = _foolbox(model, images, "hopskipjump", steps)
    starts, usable = _starting_points(model, images, labels)
    found = images.clone()
    if usable.any():
        clean = images[usable]
        moved, _, _ = runner(
            attacked, clean, labels[usable], epsilons=None, starting_points=starts[usable]
        )
        # A millionth for float32: the search ends on the ball's border or beyond it.
        within = (moved - clean).abs().flatten(1).amax(1) <= bound + 1e-6
        found[usable] = torch.where(within.view(-1, 1, 1, 1), moved, clean)
    return found


@torch.no_grad()
def _starting_points(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each image the nearest misclassified one, and whether there is one at all.

    Of the batch and of noise: Foolbox takes noise alone, and gives up the whole batch if one label
    is what noise is classified as.
    """
    noise = torch.rand((_NOISE_STARTS, *images.shape[1:]), dtype=images.dtype, device=images.device)
    logits = model(images)
    if not torch.allclose(logits, model(images), rtol=1e-3, atol=1e-4):
        raise InputError(
            "hopskipjump walks along the decision boundary of a model that always gives the same "
            "answer; this one's answers are random"
        )
    pool = torch.cat([images, noise])
    answers = [logits, *(model(part) for part in noise.split(len(images)))]
    classes = torch.cat(answers).argmax(1)
    distances = torch.cdist(images.flatten(1), pool.flatten(1))
    distances[labels.unsqueeze(1) == classes] = torch.inf
    nearest, index = distances.min(1)
    return pool[index], nearest.isfinite()


def _autoattack(
    model: nn.Module, images: Tensor, labels: Tensor, bound: float, seed: int, random: bool
) -> Tensor:
    runner = require("pyautoattack", "evaluate").AutoAttack(
        model,
        eps=bound,
        seed=seed,
        version="rand" if random else "standard",
        device=images.device,
    )
    runner.verbose = False
    with torch.no_grad():
        classes = model(images[:1]).shape[-1]
    targets = min(_TARGETS, classes - 1)
    runner.apgd_targeted.n_target_classes = runner.fab.n_target_classes = targets
    runner.attacks_to_run = [
        part for part in runner.attacks_to_run if classes >= _CLASSES_NEEDED.get(part, 2)
    ]
    found, _ = runner.run_standard_evaluation(images, labels, batch_size=len(images))
    return found


def _square(
    model: nn.Module, images: Tensor, labels: Tensor, bound: float, steps: int, seed: int
) -> Tensor:
    square = require("pyautoattack.square", "evaluate").SquareAttack(
        model, eps=bound, n_queries=steps, seed=seed, device=images.device
    )
    with torch.no_grad():
        return square.perturb(images, labels)


def _check_use(model: nn.Module, attack: str, eps: float | None, steps: int | None) -> None:
    if attack not in ATTACKS:
        raise InputError(f"unknown attack '{attack}'; known: {', '.join(ATTACKS)}")
    if eps is None and ATTACKS[attack].norm == "Linf":
        raise InputError(f"{attack} needs eps, the perturbation's bound in units of 1/255")
    if eps is not None and not 0 < eps <= 255:
        raise InputError(f"eps is in units of 1/255 and must be above 0 and at most 255: {eps:g}")
    if steps is not None and steps < 1:
        raise InputError(f"steps must be at least 1: {steps}")
    if model.training:
        raise InputError("the model is in training mode; call its eval() first")


def _check_images(images: Tensor, labels: Tensor) -> None:
    if not images.is_floating_point():
        raise InputTypeError(f"images: must be float, not {images.dtype}")
    if images.ndim != 4 or images.numel() == 0:
        raise InputError(
            f"images: must have shape (N, C, H, W), not empty, and not {tuple(images.shape)}"
        )
    low, high = (value.item() for value in images.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise InputError(f"images: must lie in [0, 1] without NaN, found {low:.4g} to {high:.4g}")
    if labels.dtype != torch.int64:
        raise InputTypeError(f"labels: must be int64, not {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise InputError(f"labels: must have shape ({len(images)},), not {tuple(labels.shape)}")


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Attacks need gradients of images alone; those of weights would double the work."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
