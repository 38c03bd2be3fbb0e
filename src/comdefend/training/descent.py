"""Training steps of two optimisers: Muon for filters, Adam for everything else."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from comdefend.nn.network import Network
from comdefend.training.kinds import Recipe
from comdefend.training.optimizer import Muon

Figures = dict[str, Tensor | float]
"""Name -> a scalar to log."""

_WARM_UP = 0.1


class Descent(LightningModule, ABC):
    """A network, its loss, and two optimisers with one schedule.

    The schedule is a linear warm-up over the first tenth of the steps, a plateau, and a linear
    decay to zero.

    Args:
        recipe: Learning rates and seed.
        network: The network to train.
        steps: Number of training steps.
        momentum: Of Muon.
        weight_decay: Of Muon.
        decay: Share of the steps, at the end, in which the learning rates fall to zero.
    """

    shown: ClassVar[tuple[str, ...]] = ()
    """What the progress bar shows of `loss`'s figures, besides the loss."""

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        steps: int,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        decay: float = 0.9,
    ) -> None:
        super().__init__()
        # Lightning steps a single optimiser by itself, but not two.
        self.automatic_optimization = False
        self.recipe, self.network, self.steps = recipe, network, steps
        self.momentum, self.weight_decay, self.decay = momentum, weight_decay, decay

    @property
    def step(self) -> int:
        """Number of the next step; Lightning counts the steps of both optimisers."""
        return self.global_step // 2

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, Figures]:
        """Return the loss of a batch, a scalar, and figures to log.

        All random numbers depend on the recipe's seed and `step` alone.
        """

    def networks(self) -> tuple[Network, ...]:
        """Return what would be kept if the training stopped now, each of another kind."""
        assert isinstance(self.network, Network)
        return (self.network,)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Do one step of both optimisers."""
        loss, figures = self.loss(batch)
        optimizers, schedulers = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizers, list)
        assert isinstance(schedulers, list)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
        for name, value in {"loss": loss, **figures}.items():
            self.log(name, value, prog_bar=name in ("loss", *self.shown))

    def configure_optimizers(self) -> Any:
        """Return Muon for filters and Adam for everything else, with their schedules."""
        others = [p for p in self.network.parameters() if p.requires_grad and p.ndim != 4]
        muon = Muon(
            self.filter_groups(),
            lr=self.recipe.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        adam = torch.optim.Adam(others, lr=self.recipe.bias_rate, betas=(0.9, 0.99))
        return [muon, adam], [LambdaLR(muon, self.schedule), LambdaLR(adam, self.schedule)]

    def filter_groups(self) -> list[dict[str, Any]]:
        """Return the filters to train, grouped by their learning rates."""
        filters = [p for p in self.network.parameters() if p.requires_grad and p.ndim == 4]
        return [{"params": filters}]

    def schedule(self, step: int) -> float:
        """Return the factor on the learning rates in a step, from 0 to 1."""
        left = max(0.0, 1 - step / self.steps)
        return min(1.0, (step + 1) / (_WARM_UP * self.steps), left / self.decay)
