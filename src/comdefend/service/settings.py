"""What a service is told: where it listens, who may use it, and its limits."""

import ipaddress
import socket

import msgspec

from comdefend.errors import InputError

TOKEN = "COMDEFEND_TOKEN"
"""The environment variable that holds the token of the API."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a service.

    Attributes:
        host: Name or address to listen on.
        port: 0 takes one that is free.
        token: What clients must know; empty for none, on loopback alone.
        max_bytes: Most bytes of a request's body.
        max_pixels: Most pixels of an image.
        seconds: Within these a request must arrive, then be answered, then be taken by the client.
        queue: Most images that are accepted and not answered yet.

    Raises:
        InputError: A value out of its range, a host that cannot be resolved, or one that others
            can reach without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    max_bytes: int = 32_000_000
    max_pixels: float = 25e6
    seconds: float = 60
    queue: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"port must be from 0 to 65535, not {self.port}")
        for name, value in (
            ("max_megabytes", self.max_bytes),
            ("max_megapixels", self.max_pixels),
            ("timeout", self.seconds),
            ("queue", self.queue),
        ):
            if not value > 0:
                raise InputError(f"{name} must be above 0, not {value:g}")
        if not self.token and not self.on_loopback:
            raise InputError(
                f"host '{self.host}' can be reached from elsewhere, which needs a token: set "
                f"{TOKEN}, or leave the host out"
            )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the host."""
        return all(ipaddress.ip_address(a).is_loopback for a in self.addresses)

    @property
    def addresses(self) -> list[str]:
        """The addresses of the host."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise InputError(f"host '{self.host}' cannot be resolved ({error})") from error
        return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))
