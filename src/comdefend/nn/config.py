"""The architecture of networks as data: bounds they share, and the purifier's configuration."""

from typing import Literal, get_args

import msgspec
from msgspec.structs import replace

from comdefend.errors import InputError

# A weight file's header is read before its tensors. These bounds are far above anything useful,
# and low enough that no header makes us allocate all memory.
MAX_WIDTH = 2048
MAX_LAYERS = 64
MAX_DOWNSCALE = 16
MAX_PHI = 1e6
MAX_VALUE_BITS = 8

Activation = Literal["elu", "gelu"]


def check_integer(name: str, value: object, maximum: int) -> None:
    """Raise InputError unless ``value`` is an integer from 1 to ``maximum``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
        raise InputError(f"{name} must be an integer from 1 to {maximum}, not {value!r}")


def check_channels(channels: object) -> None:
    """Raise InputError unless ``channels`` is 1 or 3."""
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {channels!r}")


def check_widths(name: str, widths: object, maximum: int = MAX_LAYERS) -> None:
    """Raise InputError unless ``widths`` is a tuple of 1 to ``maximum`` layer widths."""
    if not isinstance(widths, tuple) or not 1 <= len(widths) <= maximum:
        raise InputError(f"{name} must be a tuple of 1 to {maximum} widths, not {widths!r}")
    for width in widths:
        check_integer(name, width, MAX_WIDTH)


class PurifierConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Architecture of a `ComDefend`. The default is the paper's RGB network (Tables 1 and 2).

    Attributes:
        channels: Channels of the images, 3 for RGB and 1 for grey.
        encoder_widths: Output channels of the hidden convolutions of ComCNN.
        decoder_widths: Output channels of the hidden convolutions of RecCNN.
        code_maps: Number K of binary maps in the code.
        downscale: Factor d between the resolution of the image and that of the code. The encoder
            starts with a pixel-unshuffle by d, the decoder ends with a pixel-shuffle by d.
        reduction: Factor r between the resolution of the code and that of the layers. The encoder
            then works on blocks of d*r pixels and ends with a pixel-shuffle by r; the decoder
            starts with a pixel-unshuffle by r. The same widths cost r^2 times less, and the layout
            of the code does not change.
        phi: Standard deviation of the training noise, in units of the logits z.
        activation: After every convolution but the last of each network: ``elu``, as in the paper,
            or ``gelu``.
        residual: Convolutions as wide as their input add their result to it (He et al. 2016).
        outer_kernel: Side of the first and last filters of each network, 3 or 1. Blocks of many
            pixels need no neighbours there, and 1 costs nine times less.
        value_bits: Bits that tell one value of the encoder's last convolution: 1 tells its sign, as
            in the paper; b bits tell which of 2^b intervals it lies in (`nn.gray_code`).
        binary: Whether the code is binary. False leaves it as the sigmoid of the logits, which no
            longer has a rate: a control that prices the threshold.
        rates: Ascending numbers of maps below ``code_maps``. For each of them, the first maps
            alone are a code too (`ComDefend.at`). Empty: only the whole code can be decoded.

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
    activation: Activation = "elu"
    residual: bool = False
    outer_kernel: int = 3
    value_bits: int = 1
    binary: bool = True
    rates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_channels(self.channels)
        check_widths("encoder_widths", self.encoder_widths)
        check_widths("decoder_widths", self.decoder_widths)
        check_integer("code_maps", self.code_maps, MAX_WIDTH)
        check_integer("downscale", self.downscale, MAX_DOWNSCALE)
        check_integer("reduction", self.reduction, MAX_DOWNSCALE)
        if not isinstance(self.phi, int | float) or not 0 <= self.phi <= MAX_PHI:
            raise InputError(f"phi must be a number from 0 to {MAX_PHI:g}, not {self.phi!r}")
        if self.activation not in (known := get_args(Activation)):
            raise InputError(f"activation must be {' or '.join(known)}, not {self.activation!r}")
        if self.outer_kernel not in (1, 3):
            raise InputError(f"outer_kernel must be 1 or 3, not {self.outer_kernel!r}")
        check_integer("value_bits", self.value_bits, MAX_VALUE_BITS)
        if not isinstance(self.binary, bool):
            raise InputError(f"binary must be true or false, not {self.binary!r}")
        if self.value_bits > 1 and not self.binary:
            raise InputError("value_bits must be 1 where the code is not binary")
        if not isinstance(self.rates, tuple):
            raise InputError(f"rates must be a tuple of numbers of maps, not {self.rates!r}")
        for rate in self.rates:
            check_integer("rates", rate, self.code_maps - 1)
        if list(self.rates) != sorted(set(self.rates)):
            raise InputError(f"rates must ascend: {self.rates!r}")
        for maps in (*self.rates, self.code_maps):
            if maps % self.value_bits:
                raise InputError(
                    f"{maps} maps are no whole number of values of {self.value_bits} bits"
                )

    @property
    def bpp(self) -> float:
        """Bits of code per pixel of the image."""
        return self.code_maps / self.downscale**2

    @property
    def bpps(self) -> tuple[float, ...]:
        """All bits per pixel at which the weights work, ascending."""
        return tuple(maps / self.downscale**2 for maps in (*self.rates, self.code_maps))

    def at(self, bpp: float) -> "PurifierConfig":
        """Return the architecture that uses only the first maps of the code.

        Args:
            bpp: Bits per pixel, one of `bpps`.

        Raises:
            InputError: The weights were not trained for that rate.
        """
        if bpp not in self.bpps:
            known = ", ".join(f"{rate:g}" for rate in self.bpps)
            raise InputError(f"bpp: these weights work at {known} bits per pixel, not at {bpp:g}")
        maps = round(bpp * self.downscale**2)
        rates = tuple(rate for rate in self.rates if rate < maps)
        return replace(self, code_maps=maps, rates=rates)

    @property
    def multiple(self) -> int:
        """Side in pixels of the blocks that the layers see; images are padded to a multiple."""
        return self.downscale * self.reduction

    def code_side(self, side: int) -> int:
        """Return the height or width of the code of an image of this height or width."""
        return -(-side // self.multiple) * self.reduction

    @property
    def encoder_channels(self) -> tuple[int, ...]:
        """Channels before, between and after the convolutions of ComCNN."""
        return (self._block_pixels, *self.encoder_widths, self.values_of(self.code_maps))

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Channels before, between and after the convolutions of RecCNN."""
        return (self.values_of(self.code_maps), *self.decoder_widths, self._block_pixels)

    def values_of(self, maps: int) -> int:
        """Return how many values of a block, as layers see it, the first maps of the code tell."""
        return maps // self.value_bits * self.reduction**2

    @property
    def _block_pixels(self) -> int:
        return self.channels * self.multiple**2

    @property
    def receptive_radius(self) -> int:
        """Distance in pixels within which the image can change a purified value.

        Each 3x3 convolution reaches one block further, which is ``multiple`` pixels. One more
        block covers those that are reached only in part.
        """
        convolutions = len(self.encoder_widths) + len(self.decoder_widths) + 2
        if self.outer_kernel == 1:
            convolutions -= 4
        return (convolutions + (self.multiple > 1)) * self.multiple


RGB_12BPP = PurifierConfig()
"""The paper's network for colour images: 12 maps, 12 bits per pixel."""

GRAY_4BPP = PurifierConfig(
    channels=1,
    encoder_widths=(32, 64, 128, 256, 128, 64, 64, 32),
    decoder_widths=(32, 64, 128, 256, 128, 64, 64, 32),
    code_maps=4,
)
"""The paper's network for grey images: 4 maps, 4 bits per pixel."""
