"""Object stores that refuse: a real S3 server, behind one that answers some requests for it."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import fsspec
import numpy as np
import pytest
from PIL import Image

import comdefend
from comdefend.errors import OutputError, RemoteError

FULL = 507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."
DENIED = 403, "AccessDenied", "Access Denied"


class Refusing(BaseHTTPRequestHandler):
    """Passes requests on to a server, but for those that `refuses` is true of."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.refuses(self.command, self.path):
            status, code, message = self.server.reason
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            headers = [("Content-Type", "application/xml")]
        else:
            onward = http.client.HTTPConnection(self.server.behind, timeout=60)
            onward.request(self.command, self.path, body, dict(self.headers))
            answer = onward.getresponse()
            status, headers, text = answer.status, answer.getheaders(), answer.read()
            onward.close()
        self.send_response(status)
        length = next((v for k, v in headers if k.lower() == "content-length"), len(text))
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

    def log_message(self, *arguments):
        pass


@pytest.fixture
def refusing(s3, s3_server, monkeypatch):
    """The bucket through a server that refuses what its `refuses` is set to, for its `reason`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.behind, server.refuses = urlsplit(s3_server).netloc, lambda command, path: False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield server
        server.shutdown()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        pixels = random.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def kept(s3, folder):
    system, bucket = s3
    system.invalidate_cache()
    return sorted(path.rpartition("/")[2] for path in system.find(f"{bucket}/{folder}"))


def is_image(command, path):
    return command == "PUT" and path.endswith(".png")


@pytest.mark.parametrize("reason", [FULL, DENIED])
def test_a_bucket_that_takes_no_more_fails_files_and_keeps_no_part(
    refusing, s3, photos, tiny, reason
):
    target = f"s3://{s3[1]}/out"
    refusing.reason = reason
    refusing.refuses = lambda command, path: is_image(command, path) and "a.png" not in path
    results = comdefend.purify_files(photos, target, tiny)
    assert [r.status for r in results] == ["purified", "failed", "failed"]
    for result in results[1:]:
        assert result.error.startswith(f"{target}/{result.source.name}: cannot be written (")
        assert reason[2] in result.error
        assert "\n" not in result.error
    assert kept(s3, "out") == ["a.png"]
    # There is room again.
    refusing.refuses = lambda command, path: False
    assert [r.status for r in comdefend.purify_files(photos, target, tiny)] == [
        "skipped", "purified", "purified",
    ]  # fmt: skip


@pytest.mark.parametrize("reason", [FULL, DENIED])
def test_one_that_takes_nothing_costs_no_work(refusing, s3, photos, tiny, reason):
    refusing.reason = reason
    refusing.refuses = lambda command, path: command == "PUT"
    seen = []
    with pytest.raises(OutputError, match=r"/out: cannot be written \(") as caught:
        comdefend.purify_files(
            photos, f"s3://{s3[1]}/out", tiny, progress=lambda *result: seen.append(result)
        )
    assert reason[2] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not seen
    assert kept(s3, "out") == []


def test_one_that_may_not_be_listed_or_read_is_a_line(refusing, s3, photos, tmp_path, tiny):
    system, bucket = s3
    system.put(f"{photos}/", f"{bucket}/in", recursive=True)
    refusing.reason = DENIED
    refusing.refuses = lambda command, path: True
    with pytest.raises(RemoteError, match=r"/in: cannot be reached \(") as caught:
        comdefend.purify_files(f"s3://{bucket}/in", tmp_path / "out", tiny)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    # One object that may be seen and not read stops no others.
    refusing.refuses = lambda command, path: command == "GET" and "b.png" in path
    results = comdefend.purify_files(f"s3://{bucket}/in", tmp_path / "out", tiny)
    assert [r.status for r in results] == ["purified", "failed", "purified"]
    assert results[1].error == "cannot be reached (Access Denied)"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
