"""SIGTERM while many clients are served."""

import http.client
import threading
import time

import pytest


@pytest.fixture
def server(start_server):
    return start_server("--weights", "rgb-variable@2")


def test_sigterm_under_load_loses_no_request(server, encoded, chelsea):
    body = encoded(chelsea.crop((0, 0, 64, 64)))
    sent = []

    def client():
        """Ask again and again, on one connection where that is possible."""
        connection = server.connect()
        while True:
            began = time.monotonic()
            try:
                status = server.post("/purify", body, connection=connection).status
            except (OSError, http.client.HTTPException) as error:
                status = repr(error)
            sent.append((began, time.monotonic(), status))
            if status != 200:
                break
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(16)]
    for thread in clients:
        thread.start()
    time.sleep(1.5)
    told = time.monotonic()
    server.server.terminate()
    for thread in clients:
        thread.join(60)
        assert not thread.is_alive()
    assert server.server.wait() == 0
    # Those that were accepted and not answered yet.
    assert sum(began < told < ended for began, ended, _ in sent) >= 12
    before = [status for began, _, status in sent if began < told]
    assert len(before) > 20
    assert set(before) == {200}
    # Later ones are answered or not taken at all.
    after = {str(status) for began, _, status in sent if began >= told}
    allowed = ("200", "ConnectionRefused", "ConnectionReset", "RemoteDisconnected", "BrokenPipe")
    assert all(status.startswith(allowed) for status in after), after
    assert server.log.read_text().splitlines()[1:] == ["stopping: finishing what was accepted"]


def test_a_request_that_is_still_arriving_is_answered(server, encoded, chelsea):
    body = encoded(chelsea.crop((0, 0, 32, 32)))
    connection, silent = server.connect(), server.connect()
    silent.connect()
    began = time.monotonic()

    def parts():
        yield body[:100]
        server.server.terminate()
        time.sleep(1)
        yield body[100:]

    headers = {"Content-Length": str(len(body))}
    assert server.post("/purify", parts(), connection=connection, **headers).status == 200
    connection.close()
    # A connection without a request does not keep it.
    assert server.server.wait() == 0
    assert time.monotonic() - began < 10
    silent.close()
