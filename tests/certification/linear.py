"""A classifier of which everything about smoothing is known."""

import torch
from torch import nn

SIGMA = 0.1


class Line(nn.Module):
    """Two classes on either side of a hyperplane.

    Under normal noise the class of an image at distance d has the probability Phi(d / sigma), so
    the smoothed classifier's radius is d, exactly. Images near 0.5 are never clamped.
    """

    def __init__(self, side=4):
        super().__init__()
        normal = torch.randn(1, side, side, generator=torch.Generator().manual_seed(0))
        self.normal = nn.Parameter(normal / normal.norm())
        self.eval()

    def forward(self, images):
        place = ((images - 0.5) * self.normal).flatten(1).sum(1)
        return torch.stack([place, -place], 1)

    def at(self, *distances):
        """Images at these distances from the hyperplane, on the side of class 0."""
        normal = self.normal.detach()
        return torch.stack([0.5 + distance * normal for distance in distances])
