"""Steps of training by two optimisers: Muon for filters, Adam for everything else."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from comdefend.training.optimizer import Muon


class Descent(LightningModule):
    """What the trainings of classifiers, denoisers and pixel models share.

    Both optimisers follow one schedule: a linear warm-up and a linear decay to zero.

    Args:
        network: What is trained.
        steps: Steps in all.
        learning_rate: Peak learning rate of Muon.
        bias_rate: Peak learning rate of Adam.
        momentum: Of Muon.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: int,
        learning_rate: float,
        bias_rate: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__()
        # Muon and Adam step one after the other in a step of training.
        self.automatic_optimization = False
        self.network, self.steps = network, steps
        self.learning_rate, self.bias_rate, self.momentum = learning_rate, bias_rate, momentum

    @property
    def step(self) -> int:
        """Number of the next step; Lightning counts those of both optimisers."""
        return self.global_step // 2

    def descend(self, loss: Tensor) -> None:
        """Do one step of both optimisers down the gradient of ``loss``."""
        optimizers, schedulers = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizers, list)
        assert isinstance(schedulers, list)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()

    def configure_optimizers(self) -> Any:
        """Return Muon for filters and Adam for everything else, with their schedules."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        filters = [p for p in trained if p.ndim == 4]
        others = [p for p in trained if p.ndim != 4]
        muon = Muon(filters, lr=self.learning_rate, momentum=self.momentum)
        adam = torch.optim.Adam(others, lr=self.bias_rate, betas=(0.9, 0.99))
        return [muon, adam], [LambdaLR(muon, self._schedule), LambdaLR(adam, self._schedule)]

    def _schedule(self, step: int) -> float:
        return max(0.0, min((step + 1) / (0.1 * self.steps), (1 - step / self.steps) / 0.9))
