"""PixelDefend: images moved to where a model of images finds them more probable."""

import torch
from torch import Tensor, nn

from comdefend.nn.gradient import straight_through
from comdefend.nn.images import check_images
from comdefend.nn.logistics import PixelMixture
from comdefend.nn.pixelcnn import PixelCNN


class PixelDefend(nn.Module):
    """Moves each value to the most probable one nearby (Song et al. 2018, Algorithm 1).

    Greedy, in raster order, red before green before blue: each value becomes the most probable one
    within ``model.config.eps`` of the image's own, given the values chosen before, and of equally
    probable ones the smallest. Images are rounded to 8 bits first. The gradient is that of the
    identity.

    Args:
        model: Tells how probable values are.
    """

    def __init__(self, model: PixelCNN) -> None:
        super().__init__()
        self.model = model
        # New modules are in training mode; this one takes the model's mode.
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Purify images: (N, C, H, W) float in [0, 1] -> the same, in steps of 1/255.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not a tensor of the weights' float type.
        """
        # Before rounding, which would hide what is wrong.
        check_images(images, self.model.config.channels, next(self.model.parameters()).dtype)
        return straight_through(images, self._purified(images))

    @torch.no_grad()
    def _purified(self, images: Tensor) -> Tensor:
        eps = self.model.config.eps
        offsets = torch.arange(-eps, eps + 1, device=images.device)
        purified = (images * 255).round().clamp(0, 255) / 255
        for row, column, parameters in self.model.scan(purified):
            mixture = PixelMixture(parameters, images.shape[1])
            for pixels in purified[:, :, row, column].unbind(1):
                # Values beyond black and white become black and white.
                candidates = ((pixels * 255).round().unsqueeze(1) + offsets).clamp(0, 255)
                best = mixture.log_probabilities(candidates).argmax(1, keepdim=True)
                chosen = candidates.gather(1, best).squeeze(1)
                mixture.know(chosen)
                pixels.copy_(chosen / 255)
        return purified

    def extra_repr(self) -> str:
        """Return how far values are moved."""
        return f"eps={self.model.config.eps}"
