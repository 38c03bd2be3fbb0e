import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property

import pytest
from PIL import Image

TOKEN = "a token of the tests"
# Starting a process and importing torch takes seconds.
START, STOP = 120, 60


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @cached_property
    def json(self):
        return json.loads(self.body)

    @cached_property
    def image(self):
        image = Image.open(io.BytesIO(self.body))
        image.load()
        return image


class Server:
    """`comdefend serve` in a process of its own."""

    def __init__(self, log, *arguments, token=""):
        command = [sys.executable, "-m", "comdefend", "serve", "--port", "0", *arguments]
        environment = {**os.environ, "COMDEFEND_TOKEN": token}
        self.log, self._token = log, token
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL
            )
        try:
            self.port = self._port()
        except BaseException:
            self.kill()
            raise

    def _port(self):
        end = time.monotonic() + START
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(
                r"^listening on http://127.0.0.1:(\d+)$", self.log.read_text(), re.M
            ):
                return int(found[1])
            time.sleep(0.05)
        raise AssertionError(f"the server does not listen: {self.log.read_text()}")

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, connection=None, **headers):
        """Send a request and return its answer; with a connection, it stays open."""
        used = connection or self.connect()
        if self._token:
            headers.setdefault("Authorization", f"Bearer {self._token}")
        try:
            used.request(method, path, body, headers)
            response = used.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            if connection is None:
                used.close()

    def get(self, path, **headers):
        return self.request("GET", path, **headers)

    def post(self, path, body, **headers):
        return self.request("POST", path, body, **headers)

    def stop(self):
        """Tell it to stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    """Start a server; all are stopped in the end."""
    servers = []

    def start(*arguments, token=""):
        log = tmp_path_factory.mktemp("server") / "log"
        servers.append(Server(log, "--engine", "torch", *arguments, token=token))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def encoded():
    """An image as a file's bytes."""

    def encode(image, format="PNG", **options):
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    return encode
