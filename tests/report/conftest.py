import fcntl
import json
import os
import shutil
import subprocess
from itertools import count
from pathlib import Path

import msgspec
import pytest

from comdefend.evaluation.record import Data, Record, Row, load_record
from comdefend.evaluation.statistics import share_of


@pytest.fixture(scope="session")
def records():
    return Path(__file__).parents[2] / "docs/records"


@pytest.fixture(scope="session")
def real(records):
    """A record with eleven defences, every kind of figure and every threat model but transfer."""
    return load_record(records / "cifar10-small.json")


@pytest.fixture(scope="session")
def tiny():
    """Make a record of rows (defense, threat, attack, eps, which images are right)."""

    def make(*rows, **fields):
        results = [
            Row(
                defense=defense, threat=threat, attack=attack, eps=eps, correct=correct,
                norm=None if attack is None else "Linf", images=len(correct),
                accuracy=share_of(correct).accuracy,
                interval=(share_of(correct).low, share_of(correct).high),
            )
            for defense, threat, attack, eps, correct in rows
        ]  # fmt: skip
        data = Data(
            source="folder", split="test", images=len(rows[0][-1]), seed=0, fingerprint="9f",
            classes=("cat", "dog"),
        )  # fmt: skip
        record = Record(
            name="tiny", title="Tiny", experiment={}, data=data, classifier="net", device="cpu",
            threads=1, versions={}, commit=None, results=tuple(results),
        )  # fmt: skip
        return msgspec.structs.replace(record, **fields)

    return make


def _moved(descriptor):
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    finally:
        os.close(descriptor)


class Browser:
    """A headless Chromium, spoken to in the DevTools protocol over two pipes."""

    def __init__(self, program, profile):
        there, self.commands = os.pipe()
        self.answers, back = os.pipe()
        # Away from 3 and 4, where the browser looks for them.
        there, back = _moved(there), _moved(back)
        off = ("gpu", "background-networking", "component-update", "sync", "extensions")
        switches = ["--headless", "--no-sandbox", "--no-first-run", "--remote-debugging-pipe"]
        switches += [*(f"--disable-{part}" for part in off), f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            [program, *switches], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=lambda: (os.dup2(there, 3), os.dup2(back, 4)),
        )  # fmt: skip
        os.close(there)
        os.close(back)
        self.numbers, self.buffer, self.events, self.session = count(1), b"", [], None

    def close(self):
        os.close(self.commands)
        self.process.terminate()
        self.process.wait(30)
        os.close(self.answers)

    def ask(self, method, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self.buffer:
            part = os.read(self.answers, 1 << 20)
            assert part, "the browser is gone"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, width=1200, scripts=True):
        """Open a page in a new tab and wait until it is loaded and its charts are drawn."""
        self.session, self.events = None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask("Page.navigate", url=path.as_uri())
        while not self.seen("Page.loadEventFired"):
            self.events.append(self._read())
        if scripts:
            self.run(
                "new Promise(done => { const wait = () => "
                "document.querySelector('.drawing:not(.drawn)') ? setTimeout(wait, 50) : done(); "
                "wait(); })"
            )

    def seen(self, method):
        return [event["params"] for event in self.events if event.get("method") == method]

    def run(self, expression):
        """Return the value of an expression; the page's policy does not hold for it."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def point_at(self, element, click=False):
        """Move the pointer onto an element, given as an expression; perhaps press it."""
        place = self.run(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); "
            "const b = e.getBoundingClientRect(); "
            "return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()"
        )
        kinds = ["mouseMoved", *(["mousePressed", "mouseReleased"] if click else [])]
        for kind in kinds:
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=kind, **place, **button)
        # What comes of it is drawn in the next frame.
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
