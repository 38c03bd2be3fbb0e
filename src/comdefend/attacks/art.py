"""BIM, PGD, DeepFool and C&W once more, by the Adversarial Robustness Toolbox (ART).

Foolbox runs those without ``art-`` in their name. What one library gets wrong, the other is
unlikely to get wrong in the same way: compare the two where a figure surprises.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.attacks.gradient_sign import step_length
from comdefend.common.extras import require
from comdefend.nn.device import dtype_of


def art_estimator(model: nn.Module, images: Tensor) -> Any:
    """Return a model as ART's attacks take it, an ``art.estimators.classification`` object.

    Args:
        model: Images in [0, 1] to logits (N, classes), in evaluation mode.
        images: (N, C, H, W) in [0, 1], as it will be attacked on.

    Raises:
        ExtraMissingError: ART is not installed.
    """
    classification = require("art.estimators.classification", "art")
    with torch.no_grad():
        classes = model(images[:1]).shape[-1]
    return classification.PyTorchClassifier(
        model=_Casting(model),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.is_cuda else "cpu",
    )


def generate(
    attack: Callable[[Any], Any], model: nn.Module, images: Tensor, labels: Tensor, seed: int
) -> Tensor:
    """Return images (N, C, H, W) as an attack of ART leaves them.

    Args:
        attack: Given ART's estimator, returns ART's attack.
        model, images, labels: As for `run_attack`.
        seed: Of what ART draws from NumPy's global generator, which is left as it was.

    Raises:
        ExtraMissingError: ART is not installed.
    """
    with _numpy_seeded(seed):
        attacked = attack(art_estimator(model, images)).generate(
            images.cpu().numpy(), labels.cpu().numpy()
        )
    return torch.from_numpy(attacked).to(images)


def _bim(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    return _climb("BasicIterativeMethod", model, images, labels, budget)


def _pgd(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    kind = "ProjectedGradientDescent"
    return _climb(kind, model, images, labels, budget, num_random_init=1)


def _deepfool(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    # The overshoot of the paper; ART's own leaves images on the boundary.
    options = {"max_iter": budget.steps, "epsilon": 0.02}
    attacked = _attack("DeepFool", model, images, labels, budget, **options)
    # ART moves away from the model's answer, which may be wrong already, and not from the label.
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    return torch.where(right.view(-1, 1, 1, 1), attacked, images)


def _carlini_wagner(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    # ART descends by line searches where Foolbox takes Adam, and ends further from the images. The
    # constant is doubled where a search fails, up to 128 in eight. An image on the boundary itself
    # counts as misclassified there; the confidence takes it across.
    options = {"binary_search_steps": 8, "initial_const": 1.0, "learning_rate": 0.1}
    return _attack(
        "CarliniL2Method", model, images, labels, budget, max_iter=budget.steps, confidence=1e-4,
        **options,
    )  # fmt: skip


ART_BIM = Attack(
    name="art-bim",
    title="BIM (ART)",
    norm="Linf",
    kind="gradient",
    steps=10,
    about="steps of eps/4 along the gradient's sign (Kurakin et al. 2017)",
    library="ART",
    extra="art",
    run=_bim,
    settings=("step_size",),
)
ART_PGD = Attack(
    name="art-pgd",
    title="PGD (ART)",
    norm="Linf",
    kind="gradient",
    steps=20,
    about="steps of eps/4 from a random start (Madry et al. 2018)",
    library="ART",
    extra="art",
    run=_pgd,
    settings=("step_size",),
)
ART_DEEPFOOL = Attack(
    name="art-deepfool",
    title="DeepFool (ART)",
    norm="L2",
    kind="gradient",
    steps=50,
    about="steps to the nearest linearised decision boundary (Moosavi-Dezfooli et al. 2016)",
    library="ART",
    extra="art",
    run=_deepfool,
)
ART_CARLINI_WAGNER = Attack(
    name="art-cw",
    title="C&W (ART)",
    norm="L2",
    kind="gradient",
    steps=10,
    about="line searches on margin and size, eight searches for their balance (Carlini and Wagner "
    "2017)",
    library="ART",
    extra="art",
    run=_carlini_wagner,
)


def _climb(
    kind: str, model: nn.Module, images: Tensor, labels: Tensor, budget: Budget, **options: Any
) -> Tensor:
    """Run an attack that steps along the gradient's sign within eps."""
    sizes = {"eps": budget.bound, "eps_step": step_length(budget), "max_iter": budget.steps}
    attacked = _attack(kind, model, images, labels, budget, **sizes, **options)
    return images + (attacked - images).clamp(-budget.bound, budget.bound)


def _attack(
    kind: str, model: nn.Module, images: Tensor, labels: Tensor, budget: Budget, **options: Any
) -> Tensor:
    """Run an attack of ART by the name of its class."""
    attacks = require("art.attacks.evasion", "art")

    def attack(estimator: Any) -> Any:
        made = getattr(attacks, kind)
        return made(estimator, batch_size=len(images), verbose=False, **options)

    return generate(attack, model, images, labels, budget.seed)


class _Casting(nn.Module):
    """A model that takes images of any float type: with NumPy 2 some attacks use float64."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.to(dtype_of(self.model)))


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, and restore it afterwards."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)
