import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.parse
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Small enough for a test; the purifier and the attack are real.
QUICK = {"classifier": "cifar10-small", "purifier": "photo", "bpp": 2, "attack": "pgd", "eps": 8}


@dataclass
class Site:
    """`comdefend app`, running in a process of its own."""

    process: subprocess.Popen
    folder: Path
    host: str
    port: int
    url: str = field(init=False)

    def __post_init__(self):
        self.url = f"http://{self.host}:{self.port}"

    def ask(self, path, body=None, headers=None, method=None):
        """Return status, headers and body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            method = method or ("GET" if body is None else "POST")
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def start_trial(self, photograph, **chosen):
        """Start a trial; returns the connection and the answer, whose lines come one by one."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        query = urllib.parse.urlencode({**QUICK, **chosen})
        connection.request("POST", f"/trial?{query}", photograph)
        return connection, connection.getresponse()

    def trial(self, photograph, **chosen):
        """Return the status and what was told: lines of JSON, or one refusal."""
        connection, answer = self.start_trial(photograph, **chosen)
        with closing(connection):
            return answer.status, [json.loads(line) for line in answer.read().splitlines()]


@contextmanager
def serving(folder, *options):
    """Run the command until the block ends; temporary files would lie in the folder."""
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    # Without cached bytecode it would compile torch again, for many seconds.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "comdefend", "app", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), process.stderr.read()
        address = urllib.parse.urlsplit(line.split()[0])
        yield Site(process, folder, address.hostname, address.port)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("temporary")) as running:
        yield running


@pytest.fixture(scope="session")
def coffee(photo_folder):
    """The bytes of a photograph."""
    return (photo_folder / "coffee.png").read_bytes()
