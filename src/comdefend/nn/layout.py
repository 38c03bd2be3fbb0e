"""The convolutions of a purifier as data: what its weight files hold, in order, without torch."""

from itertools import pairwise

import msgspec

from comdefend.nn.config import PurifierConfig

PARTS = ("encoder", "decoder")


class Layer(msgspec.Struct, frozen=True):
    """A convolution; all but the last of a part have an activation behind them.

    Attributes:
        name: In front of ``.weight`` and ``.bias`` in weight files.
        inputs, outputs: Channels.
        kernel: Side of its filters, odd; padding keeps the size.
        residual: Its input is added to what the activation returns.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    residual: bool

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of its tensors."""
        return {
            f"{self.name}.weight": (self.outputs, self.inputs, self.kernel, self.kernel),
            f"{self.name}.bias": (self.outputs,),
        }


def layers(config: PurifierConfig, part: str) -> tuple[Layer, ...]:
    """Return the convolutions of ``encoder`` or ``decoder``, in their order."""
    channels = config.encoder_channels if part == "encoder" else config.decoder_channels
    found: list[Layer] = []
    place, last = 0, len(channels) - 2
    for number, (inputs, outputs) in enumerate(pairwise(channels)):
        inner = 0 < number < last
        kernel = 3 if inner else config.outer_kernel
        residual = inner and config.residual and inputs == outputs
        # A residual layer is one module around convolution and activation, others are two.
        name = f"{part}.layers.{place}" + ".layers.0" * residual
        found.append(Layer(name, inputs, outputs, kernel, residual))
        place += 1 if residual else 2
    return tuple(found)


def tensor_shapes(config: PurifierConfig) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of all tensors of a purifier, in the order of its weight files."""
    return {
        name: shape
        for part in PARTS
        for layer in layers(config, part)
        for name, shape in layer.shapes.items()
    }
