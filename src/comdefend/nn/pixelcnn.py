"""An autoregressive model of images, with which PixelDefend makes images more probable."""

import math
from collections.abc import Iterator
from typing import cast

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.nn.config import MAX_LAYERS, MAX_WIDTH, check_channels, check_integer
from comdefend.nn.images import check_images
from comdefend.nn.logistics import log_likelihood, parameter_count
from comdefend.nn.network import Network

MAX_MIXTURES = 100


class PixelCNNConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Architecture of a `PixelCNN`.

    Attributes:
        channels: Channels of the images, 3 for RGB and 1 for grey.
        width: Channels of the features in each of the two streams.
        layers: Number of residual blocks.
        mixtures: Number of logistic distributions in the mixture of a pixel.
        eps: How far PixelDefend moves values, in units of 1/255; not part of the model itself.

    Raises:
        InputError: A field is out of its range.
    """

    channels: int = 3
    width: int = 48
    layers: int = 6
    mixtures: int = 5
    eps: int = 16

    def __post_init__(self) -> None:
        check_channels(self.channels)
        check_integer("width", self.width, MAX_WIDTH)
        check_integer("layers", self.layers, MAX_LAYERS)
        check_integer("mixtures", self.mixtures, MAX_MIXTURES)
        check_integer("eps", self.eps, 255)

    @property
    def reach(self) -> tuple[int, int]:
        """How far back the distribution of a pixel looks: rows up, columns left in its own row.

        In the row above it also looks ``layers + 1`` columns to the left and to the right.
        """
        return self.layers + 2, self.layers + 2


class PixelCNN(Network):
    """A small PixelCNN++ (Salimans et al. 2017): the distribution of each pixel given those before.

    Two streams of features (van den Oord et al. 2016): one sees all rows above the pixel, the other
    sees the pixels to the left in its row, and the first stream. Together they see everything that
    comes before the pixel. Gated residual blocks with one convolution per stream; unlike the
    original, all at full resolution and without dropout.

    Args:
        config: The architecture.
    """

    kind = "pixelcnn"
    config_type = PixelCNNConfig
    config: PixelCNNConfig

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__()
        self.config = config
        # One more input than colours, constant: it tells the image from the padding around it.
        self.above = nn.Conv2d(config.channels + 1, config.width, (2, 3))
        self.left = nn.Conv2d(config.channels + 1, config.width, (1, 2))
        self.blocks = nn.ModuleList(_Block(config.width) for _ in range(config.layers))
        self.head = nn.Sequential(
            nn.ELU(),
            nn.Conv2d(config.width, config.width, 1),
            nn.ELU(),
            nn.Conv2d(config.width, parameter_count(config.channels, config.mixtures), 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the parameters of each pixel's distribution, given the pixels before it.

        Args:
            images: (N, C, H, W) float in [0, 1].

        Returns:
            (N, H, W, P), for `comdefend.nn.logistics`.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not a tensor of the weights' float type.
        """
        inputs = self._inputs(images)
        # Shifted, so that a filter sees up to one row above, and up to one pixel to the left.
        above = self.above(F.pad(inputs[..., :-1, :], (1, 1, 2, 0)))
        left = self.left(F.pad(inputs[..., :-1], (2, 0)))
        for block in self.blocks:
            above, left = block(above, left)
        return self.head(left).permute(0, 2, 3, 1)

    def bits_per_dimension(self, images: Tensor) -> Tensor:
        """Return -log2 of the probability of each image, divided by its number of values.

        Args:
            images: (N, C, H, W) float in [0, 1], in steps of 1/255.

        Returns:
            (N,).

        Raises:
            InputError, InputTypeError: As for `forward`.
        """
        values = (images * 255).round().permute(0, 2, 3, 1)
        total = log_likelihood(self(images).float(), values).flatten(1).sum(1)
        return -total / math.log(2) / images[0].numel()

    @torch.no_grad()
    def scan(self, images: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """Visit pixels in raster order, with the distribution of each given those before it.

        The caller may change ``images`` at the pixel being visited; later distributions take it
        into account. Every feature is computed once, when all that it depends on is known
        (Ramachandran et al. 2017), so a scan costs as much as one pass.

        Args:
            images: (N, C, H, W) float in [0, 1].

        Yields:
            Row, column, and the parameters there, (N, P).

        Raises:
            InputError, InputTypeError: As for `forward`.
        """
        height, width = images.shape[-2:]
        inputs = F.pad(self._inputs(images), (2, 1, 2, 0))
        blocks = cast(list[_Block], list(self.blocks))
        # Inputs of the blocks' filters in the row above; `pixels` below, at the pixel to the left.
        rows = [images.new_zeros(len(images), self.config.width, 1, width) for _ in blocks]
        for row in range(height):
            above, links = self.above(inputs[:, :, row : row + 2, 1:]), []
            for index, block in enumerate(blocks):
                seen = F.elu(above)
                two_rows = F.pad(torch.cat([rows[index], seen], 2), (1, 1))
                above = above + _gate(block.above(two_rows))
                rows[index] = seen
                links.append(block.link(F.elu(above)))
            pixels = [torch.zeros_like(seen[..., :1]) for seen in rows]
            for column in range(width):
                left = self.left(inputs[:, :, row + 2 : row + 3, column : column + 2])
                for index, block in enumerate(blocks):
                    seen = F.elu(left)
                    two_pixels = torch.cat([pixels[index], seen], 3)
                    left = left + block.mix(two_pixels, links[index][..., column : column + 1])
                    pixels[index] = seen
                yield row, column, self.head(left)[..., 0, 0]
                inputs[:, :-1, row + 2, column + 2] = 2 * images[:, :, row, column] - 1

    def _inputs(self, images: Tensor) -> Tensor:
        check_images(images, self.config.channels, self.above.weight.dtype)
        return torch.cat([2 * images - 1, torch.ones_like(images[:, :1])], 1)


class _Block(nn.Module):
    """A gated residual block of both streams."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.above = nn.Conv2d(width, 2 * width, (2, 3))
        self.left = nn.Conv2d(width, 2 * width, (1, 2))
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        above = above + _gate(self.above(F.pad(F.elu(above), (1, 1, 1, 0))))
        left = left + self.mix(F.pad(F.elu(left), (1, 0)), self.link(F.elu(above)))
        return above, left

    def mix(self, left: Tensor, link: Tensor) -> Tensor:
        return self.out(_gate(self.left(left) + link))


def _gate(features: Tensor) -> Tensor:
    values, gates = features.chunk(2, 1)
    return values * torch.sigmoid(gates)
