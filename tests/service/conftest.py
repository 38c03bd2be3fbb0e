import http.client
import io
import json
import threading
from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from PIL import Image

from comdefend.nn.config import PurifierConfig
from comdefend.nn.images import to_bytes
from comdefend.nn.purifier import ComDefend
from tools.serving import Server

TOKEN = "a token of the tests"


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


class Client:
    """A server, and requests to it."""

    def __init__(self, log, *arguments, token=""):
        self.server, self._token = Server(log, *arguments, token=token), token
        self.log, self.port = log, self.server.port

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


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    """Start a server; all are stopped in the end."""
    clients = []

    def start(*arguments, token=""):
        log = tmp_path_factory.mktemp("server") / "log"
        clients.append(Client(log, "--engine", "torch", *arguments, token=token))
        return clients[-1]

    yield start
    for client in clients:
        client.server.kill()


@pytest.fixture(scope="session")
def encoded():
    """An image as a file's bytes."""

    def encode(image, format="PNG", **options):
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    return encode


class Gate:
    """A purifier that waits until it is let go."""

    device = torch.device("cpu")

    def __init__(self):
        torch.manual_seed(0)
        config = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=2)
        self.inner, self.config = ComDefend(config).eval(), config
        self.open, self.entered, self.sizes = threading.Event(), threading.Event(), []

    def __call__(self, images):
        self.entered.set()
        assert self.open.wait(30)
        self.sizes.append(len(images))
        if images.shape[-1] == 13:
            raise ValueError("a fault")
        return self.inner(images)

    @torch.inference_mode()
    def purify_bytes(self, images):
        purified = self(torch.from_numpy(images).float() / 255)
        return to_bytes(purified).numpy(), purified.isfinite().flatten(1).all(1).numpy()


@pytest.fixture
def gate():
    return Gate()
