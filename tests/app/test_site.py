"""The server behind the page, as a process of its own, asked over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from comdefend.app.turns import WAITING
from tests.app.conftest import serving


def files_in(folder):
    # torch makes a folder, empty.
    return [path for path in folder.rglob("*") if not path.is_dir()]


def lines(answer):
    return map(json.loads, iter(answer.readline, b""))


def test_a_trial_is_told_line_by_line_and_leaves_no_file(site, coffee):
    status, told = site.trial(coffee)
    assert status == 200
    done = [line["done"] for line in told if line.get("doing") == "Attacking the classifier"]
    assert done == list(range(10))
    verdicts = [line["verdict"] for line in told if "verdict" in line]
    assert len(verdicts) == 3
    assert verdicts[0].startswith("The ")
    assert "An attacker who knows the purifier" in verdicts[-1]
    assert told[-1]["result"].count("data:image/png;base64,") == 3 * 4 - 1 + 3
    assert files_in(site.folder) == []


def test_the_page_loads_nothing_from_elsewhere_and_may_not_be_framed(site):
    for path in ("/", "/static/page.js", "/static/page.css", "/examples/Coffee", "/nowhere"):
        status, headers, body = site.ask(path)
        assert status == (404 if path == "/nowhere" else 200)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        if path != "/examples/Coffee":
            assert b"http:" not in body.replace(b"http://www.w3.org", b"")
            assert b"https:" not in body


@pytest.mark.parametrize(
    "path",
    [
        "/examples/coffee.png",
        "/examples/..%2f__init__.py",
        "/static/../site.py",
        "/static/%2e%2e/site.py",
    ],
)
def test_nothing_else_can_be_read(site, path):
    assert site.ask(path)[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_sites_cannot_use_it(site, coffee, headers, status):
    query = "classifier=cifar10-small&purifier=photo&bpp=2&attack=fgsm&eps=8"
    assert site.ask(f"/trial?{query}", coffee, headers)[0] == status


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"classifier": "os:system"}, "unknown classifier 'os:system'"),
        ({"purifier": "../../weights.safetensors"}, "unknown purifier"),
        ({"bpp": 12}, "photo has 1, 2 bits per pixel, not 12"),
        ({"eps": "many"}, "float"),
        ({"eps": 255}, "eps must be from 1 to 32, not 255"),
    ],
)
def test_what_is_not_offered_is_refused_in_one_line(site, coffee, chosen, message):
    status, told = site.trial(coffee, **chosen)
    assert status == 422
    assert message in told[0]["error"]


def test_a_missing_choice_is_named(site, coffee):
    status, _, body = site.ask("/trial?classifier=cifar10-small", coffee)
    assert status == 422
    assert "purifier" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("body", "message"), [(b"", "is empty"), (b"no image", "is not an image of a handled format")]
)
def test_a_photograph_that_is_none_is_named_in_one_line(site, body, message):
    _, told = site.trial(body)
    assert message in told[-1]["error"]
    assert site.process.poll() is None


def test_an_upload_that_is_too_large_ends_early(site):
    query = "classifier=cifar10-small&purifier=photo&bpp=2&attack=fgsm&eps=8"
    with socket.create_connection((site.host, site.port), timeout=30) as connection:
        # It says that a gigabyte comes; the answer is there after 20 MB of it.
        head = (
            f"POST /trial?{query} HTTP/1.1\r\nHost: {site.host}\r\nContent-Length: {2**30}\r\n\r\n"
        )
        connection.sendall(head.encode())
        for _ in range(21):
            connection.sendall(bytes(2**20))
        assert b"413" in connection.recv(100)


# Seconds for each step, so that others have to wait.
SLOW = {"purifier": "rgb-12bpp", "bpp": 12, "classifier": "efficientnet-lite0"}


def test_who_finds_the_queue_full_is_told_so(site, coffee):
    held = [site.start_trial(coffee, **SLOW) for _ in range(2)]
    try:
        for _, answer in held:
            assert any("result" in line for line in lines(answer))
        for number in range(WAITING):
            held.append(site.start_trial(b"no image"))
            assert next(lines(held[-1][1])) == {"waiting": number}
        status, told = site.trial(coffee)
        assert status == 503
        assert "too many people wait already" in told[0]["error"]
    finally:
        for connection, answer in held:
            answer.close()
            connection.close()


def test_others_run_beside_or_wait_in_order_and_who_leaves_makes_room(site, coffee):
    held = [site.start_trial(coffee, **SLOW) for _ in range(2)]
    try:
        for _, answer in held:
            assert any("result" in line for line in lines(answer))
        third, waiting = site.start_trial(coffee)
        assert next(lines(waiting)) == {"waiting": 0}
        fourth, behind = site.start_trial(coffee)
        assert next(lines(behind)) == {"waiting": 1}
        # Who waits and leaves is forgotten.
        waiting.close()
        third.close()
        assert {"waiting": 0} in (next(lines(behind)) for _ in range(20))
        # Who runs and leaves is stopped at the next step, long before the attack would end.
        connection, answer = held.pop()
        answer.close()
        connection.close()
        begin = time.monotonic()
        *_, last = lines(behind)
        assert "result" in last
        assert time.monotonic() - begin < 60
        fourth.close()
    finally:
        for connection, answer in held:
            answer.close()
            connection.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_asked_to_even_during_a_trial(tmp_path, coffee, number):
    with serving(tmp_path) as site:
        connection, answer = site.start_trial(coffee, classifier="efficientnet-lite0")
        told = lines(answer)
        next(told)
        site.process.send_signal(number)
        *_, last = told
        assert "error" in last
        assert site.process.wait(30) == (0 if number == signal.SIGINT else -signal.SIGTERM)
        assert "Traceback" not in site.process.stderr.read()
        connection.close()
    assert files_in(tmp_path) == []


def test_a_place_that_is_taken_is_named_in_one_line(site):
    command = [sys.executable, "-m", "comdefend", "app", "--port", str(site.port)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert out.returncode == 2
    assert f"cannot listen at 127.0.0.1, port {site.port}: " in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
