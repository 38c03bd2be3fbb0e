"""A server in a process of its own, and what a client makes of its answers."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

# Importing torch and opening an engine takes seconds, on a busy machine many.
_START, _STOP = 180, 120


class Server:
    """``comdefend serve`` on a port that is free.

    Args:
        log: Takes what it prints.
        arguments: Of the command.
        token: What clients must know.

    Raises:
        RuntimeError: It does not listen.
    """

    def __init__(self, log: Path, *arguments: str, token: str = "") -> None:
        command = [sys.executable, "-m", "comdefend", "serve", "--port", "0", *arguments]
        environment = {**os.environ, "COMDEFEND_TOKEN": token}
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL
            )
        try:
            self.port = self._port()
        except BaseException:
            self.kill()
            raise

    def terminate(self) -> None:
        """Tell it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has stopped, and return its exit code."""
        return self.process.wait(_STOP)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def _port(self) -> int:
        end = time.monotonic() + _START
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"^listening on \S+:(\d+)$", self.log.read_text(), re.MULTILINE)
            if found:
                return int(found[1])
            time.sleep(0.05)
        raise RuntimeError(f"the server does not listen: {self.log.read_text()}")
