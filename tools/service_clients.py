"""Clients that load a service, each a thread with a connection of its own."""

import http.client
import io
import random
import socket
import threading
import time
from collections.abc import Callable

from PIL import Image
from torch import Tensor

from comdefend.data.shipped import image_crops

Request = tuple[str, str, bytes]
"""What kind it is, path, and body."""

BROKEN_OFF = "broken off"
"""The kind of a request that its client gives up half way, and what becomes of it."""


class Clients:
    """Clients that ask again as soon as they are answered.

    Args:
        port: Of the server, on this machine.
        request: Returns what to ask next; called by many threads.

    Attributes:
        ended: Of each request that was answered in time: its kind, status, and seconds.
        good_per_second: Good images answered in a second.
    """

    def __init__(self, port: int, request: Callable[[], Request]) -> None:
        self._port, self._request = port, request
        self.ended: list[tuple[str, str, float]] = []
        self.good_per_second = 0.0

    def run(self, seconds: float, clients: int) -> None:
        """Ask for some seconds; returns when the last answer is there."""
        began = time.perf_counter()
        end = began + seconds
        threads = [threading.Thread(target=self._client, args=(end,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        good = sum((kind, status) == ("good", "200") for kind, status, _ in self.ended)
        self.good_per_second = good / (time.perf_counter() - began)

    def _client(self, end: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        while time.perf_counter() < end:
            kind, path, body = self._request()
            began = time.perf_counter()
            if kind == BROKEN_OFF:
                self._break_off(path, body)
                status = BROKEN_OFF
            else:
                status = self._status(connection, path, body)
            self.ended.append((kind, status, time.perf_counter() - began))
        connection.close()

    def _status(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> str:
        try:
            connection.request("POST", path, body)
            response = connection.getresponse()
            response.read()
            return str(response.status)
        # The server may close while a body comes that it does not want.
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__

    def _break_off(self, path: str, body: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body[: len(body) // 2])


class Mixed:
    """Good, bad, huge and hostile requests, drawn at random.

    Args:
        most_megabytes: The server's limit.
        side: Of good images, in pixels.
    """

    def __init__(self, most_megabytes: float, side: int) -> None:
        self._draw = random.Random(0)
        crops = image_crops(3, 16, side, side)
        good = [encoded(crop, format) for crop in crops for format in ("jpeg", "png")]
        good += [encoded(crop[:, : side // 2, : side - 30], "jpeg") for crop in crops]
        self._bodies = {
            "good": good,
            "bad": [b"", b"no image", good[0][:1000], good[1][: len(good[1]) // 2]],
            "huge": [
                bytes(int(most_megabytes * 1e6) + 1),
                _file(Image.new("L", (20_000, 20_000)), "PNG"),
            ],
            "hostile": [self._damaged(body) for body in good[:8] for _ in range(8)],
            BROKEN_OFF: good,
        }
        self._kinds = ["good"] * 12 + ["bad"] * 2 + ["huge", "hostile", "hostile", BROKEN_OFF]

    def __call__(self) -> Request:
        """Return a request."""
        kind = self._draw.choice(self._kinds)
        format = self._draw.choice(["png", "jpeg", "jpeg", "bmp"])
        return kind, f"/purify?format={format}", self._draw.choice(self._bodies[kind])

    def _damaged(self, body: bytes) -> bytes:
        damaged = bytearray(body)
        for _ in range(self._draw.randrange(1, 8)):
            # Most of what decides is in the first bytes.
            place = int(len(damaged) * self._draw.random() ** 4)
            damaged[place] = self._draw.randrange(256)
        return bytes(damaged)


def encoded(image: Tensor, format: str) -> bytes:
    """Return an image, (C, H, W) uint8, as a file."""
    return _file(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), format)


def figures(port: int) -> dict[str, float]:
    """Return what a server tells Prometheus: name with labels -> value."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _file(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()
