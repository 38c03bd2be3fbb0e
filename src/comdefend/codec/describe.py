"""What a compressed image holds, told without opening any weights."""

import msgspec

from comdefend.codec.container import Header, read_container


class Info(msgspec.Struct, frozen=True):
    """What a compressed image holds.

    Attributes:
        header: What it says of itself.
        size: Bytes of the whole file.
        profile, alpha: Bytes of the ICC profile and of the alpha channel, as stored.
        rates: Bytes of code at each rate, those of the rates below included; fewer than the header
            has where the file is truncated.
    """

    header: Header
    size: int
    profile: int
    alpha: int
    rates: tuple[int, ...]

    @property
    def truncated(self) -> bool:
        """Whether the file ends before its last rate does."""
        return len(self.rates) < len(self.header.rates)

    @property
    def stored_bpps(self) -> tuple[float, ...]:
        """Bits per pixel of the stored code at each rate."""
        return tuple(8 * rate / self.header.pixels for rate in self.rates)


def info(data: bytes) -> Info:
    """Tell what a compressed image holds; no weights are opened, and no image is made.

    Raises:
        ImageError: Not a compressed image, damaged, or truncated within its lowest rate.
    """
    container = read_container(data)
    rates, total = [], 0
    for streams in container.streams:
        total += sum(map(len, streams))
        rates.append(total)
    return Info(
        container.header, len(data), len(container.profile), len(container.alpha), tuple(rates)
    )
