"""The weights of a run that has not ended yet, usable whenever it is stopped."""

from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from comdefend._version import __version__
from comdefend.nn.classifier import SmallClassifier
from comdefend.training.descent import Descent
from comdefend.training.recipe import recipe_to_dict
from comdefend.zoo import save_weights

FOLDER = "checkpoints"


class UnfinishedWeights(Callback):
    """Writes ``checkpoints/KIND.safetensors`` after every epoch, each file as a whole.

    They lie apart from the weights that the training ends with, so that nobody takes one for the
    other. Their record has the recipe, and under ``unfinished`` the steps that are done and all.

    Args:
        output: The run's folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the weights of the epoch, after its validation."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Descent)
        record = {
            "recipe": recipe_to_dict(pl_module.recipe),
            "unfinished": {"steps_done": pl_module.step, "steps": pl_module.steps},
            "versions": {"comdefend": __version__, "torch": str(torch.__version__)},
        }
        for network in pl_module.networks():
            half = isinstance(network, SmallClassifier)
            save_weights(unfinished_file(self.output, network.kind), network, record, half)


def unfinished_file(output: Path, kind: str) -> Path:
    """Return where the weights of a network lie while its run lasts."""
    return output / FOLDER / f"{kind}.safetensors"
