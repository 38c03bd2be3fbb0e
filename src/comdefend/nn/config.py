"""The shape of networks, as data: what all have in common, and a purifier's."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from comdefend.errors import InputError

# Bounds that a configuration read from a file must keep: far above anything useful, and small
# enough that no header can make us allocate a machine's memory.
MAX_WIDTH = 2048
MAX_LAYERS = 64
MAX_DOWNSCALE = 16


def check_integer(name: str, value: object, maximum: int) -> None:
    """Raise InputError where ``value`` is not an integer from 1 to ``maximum``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
        raise InputError(f"{name} must be an integer from 1 to {maximum}, not {value!r}")


class NetworkConfig:
    """A frozen dataclass that describes a network, to and from plain JSON types."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON types."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from `to_dict`'s output.

        Raises:
            InputError: A key is unknown, or a value is out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(values) - known):
            raise InputError(f"unknown configuration keys {unknown}; known: {sorted(known)}")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class PurifierConfig(NetworkConfig):
    """Architecture of a `ComDefend`. The default is the paper's RGB network (Tables 1 and 2).

    Attributes:
        channels: Channels of the images, 3 for RGB and 1 for grey.
        encoder_widths: Output channels of every hidden convolution of ComCNN.
        decoder_widths: Output channels of every hidden convolution of RecCNN.
        code_maps: Binary maps K that make up the code.
        downscale: Factor d between the image's and the code's resolution. The encoder starts
            with a pixel-unshuffle by d, the decoder ends with a pixel-shuffle by d.
        reduction: Factor r between the code's resolution and that of all layers: those of the
            encoder see blocks of d*r pixels and end with a pixel-shuffle by r, those of the decoder
            start with a pixel-unshuffle by r. Layers of the same widths cost a factor r^2 less, and
            the code keeps its layout.
        phi: Standard deviation of the training noise, in units of the logits z.
        rates: Numbers of maps, ascending and below ``code_maps``, at which the first maps alone are
            a code too (`ComDefend.at`). Empty: the code is the whole or nothing.

    Raises:
        InputError: A field is out of its range.
    """

    channels: int = 3
    encoder_widths: tuple[int, ...] = (16, 32, 64, 128, 256, 128, 64, 32)
    decoder_widths: tuple[int, ...] = (32, 64, 128, 256, 128, 64, 32, 16)
    code_maps: int = 12
    downscale: int = 1
    reduction: int = 1
    phi: float = 20.0
    rates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("encoder_widths", "decoder_widths"):
            widths = getattr(self, name)
            if not isinstance(widths, tuple) or not 1 <= len(widths) <= MAX_LAYERS:
                raise InputError(f"{name} must be a tuple of 1 to {MAX_LAYERS} widths: {widths!r}")
            for width in widths:
                check_integer(name, width, MAX_WIDTH)
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels!r}")
        check_integer("code_maps", self.code_maps, MAX_WIDTH)
        check_integer("downscale", self.downscale, MAX_DOWNSCALE)
        check_integer("reduction", self.reduction, MAX_DOWNSCALE)
        if not isinstance(self.phi, int | float) or not 0 <= self.phi < float("inf"):
            raise InputError(f"phi must be a finite number that is not negative: {self.phi!r}")
        if not isinstance(self.rates, tuple):
            raise InputError(f"rates must be a tuple of numbers of maps: {self.rates!r}")
        for rate in self.rates:
            check_integer("rates", rate, self.code_maps - 1)
        if list(self.rates) != sorted(set(self.rates)):
            raise InputError(f"rates must ascend: {self.rates!r}")

    @property
    def bpp(self) -> float:
        """Bits of code for each pixel of the image."""
        return self.code_maps / self.downscale**2

    @property
    def bpps(self) -> tuple[float, ...]:
        """All bits a pixel at which these weights work, ascending."""
        return tuple(maps / self.downscale**2 for maps in (*self.rates, self.code_maps))

    @property
    def multiple(self) -> int:
        """Side in pixels of the blocks that layers see: images are padded to a multiple of it."""
        return self.downscale * self.reduction

    def code_side(self, side: int) -> int:
        """Return the height or width of the code of an image of this height or width."""
        return -(-side // self.multiple) * self.reduction

    @property
    def encoder_channels(self) -> tuple[int, ...]:
        """Channels before, between and after ComCNN's convolutions."""
        return (self._block_values, *self.encoder_widths, self._block_bits)

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Channels before, between and after RecCNN's convolutions."""
        return (self._block_bits, *self.decoder_widths, self._block_values)

    @property
    def _block_values(self) -> int:
        return self.channels * self.multiple**2

    @property
    def _block_bits(self) -> int:
        return self.code_maps * self.reduction**2

    @property
    def receptive_radius(self) -> int:
        """Pixels around an image position that can change its purified value.

        Every 3x3 convolution reaches one block further, which is ``multiple`` pixels of the image;
        one more step covers the pixels of a block that is only partly reached.
        """
        convolutions = len(self.encoder_widths) + len(self.decoder_widths) + 2
        return (convolutions + (self.multiple > 1)) * self.multiple


RGB_12BPP = PurifierConfig()
"""The paper's network for colour images: 12 maps, 12 bits a pixel."""

GRAY_4BPP = PurifierConfig(
    channels=1,
    encoder_widths=(32, 64, 128, 256, 128, 64, 64, 32),
    decoder_widths=(32, 64, 128, 256, 128, 64, 64, 32),
    code_maps=4,
)
"""The paper's network for grey images: 4 maps, 4 bits a pixel."""
