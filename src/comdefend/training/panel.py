"""A picture of a purifier's reconstructions after every epoch."""

from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchvision.utils import make_grid, save_image

from comdefend.nn.purifier import ComDefend

# Side in pixels to which small images are enlarged, or nearly.
_LEGIBLE = 192


class ReconstructionPanel(Callback):
    """Writes ``panels/epoch-NNNN.png``: clean images above, purified ones below them.

    Args:
        images: (N, C, H, W) uint8, never trained on.
        folder: The run's folder.
    """

    def __init__(self, images: Tensor, folder: Path) -> None:
        self.images, self.folder = images, folder / "panels"

    @torch.inference_mode()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the panel; Lightning has set the module to evaluation mode."""
        if not trainer.is_global_zero:
            return
        clean = (self.images.float() / 255).to(pl_module.device)
        purifier = pl_module.network
        assert isinstance(purifier, ComDefend)
        grid = make_grid(torch.cat([clean, purifier(clean)]), nrow=len(clean), padding=2)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Thumbnails are enlarged, photographs are not.
        factor = max(1, _LEGIBLE // clean.shape[-1])
        grid = grid.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        save_image(grid, self.folder / f"epoch-{trainer.current_epoch + 1:04d}.png")
