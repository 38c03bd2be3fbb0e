"""Images purified by a service over HTTP, by a client that needs no part of comdefend.

Starts a service of its own, unless --url names one. Where that wants a token, it is taken from the
environment variable COMDEFEND_TOKEN.

Needs: pip install 'comdefend[serve]', where the service runs
"""

import argparse
import io
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image


def ask(url: str, path: str, body: bytes) -> bytes:
    """Return an answer of the service; wait and ask again while it is busy."""
    headers = {"Content-Type": "application/octet-stream"}
    if token := os.environ.get("COMDEFEND_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    while True:
        request = urllib.request.Request(url + path, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            wait = error.headers.get("Retry-After")
            if wait is None:
                sys.exit(f"refused: {error.read().decode()}")
            time.sleep(float(wait))


def main() -> None:
    """Purify files, or a gradient if there are none, and say what came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--url", help="of a service that runs, such as http://127.0.0.1:8000")
    parser.add_argument("--output", type=Path, default=Path("purified"))
    asked = parser.parse_args()
    server = None
    if asked.url is None:
        command = [sys.executable, "-m", "comdefend", "serve", "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        asked.url = server.stderr.readline().removeprefix("listening on ").strip()
    try:
        bodies = {path.stem: path.read_bytes() for path in asked.files} or {"gradient": gradient()}
        asked.output.mkdir(exist_ok=True)
        for name, body in bodies.items():
            purified = ask(asked.url, "/purify", body)
            (asked.output / f"{name}.png").write_bytes(purified)
            with Image.open(io.BytesIO(purified)) as image:
                print(f"{name}: {image.width}x{image.height} back as {image.format}")
    finally:
        if server is not None:
            server.terminate()
            server.wait()


def gradient() -> bytes:
    """Return a file with something to purify."""
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").resize((96, 64)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
