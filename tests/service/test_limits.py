"""What a real server refuses: too much, too slow, hostile."""

import random
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

SECONDS = 2
MOST_BYTES, MOST_PIXELS = 300_000, 200_000


@pytest.fixture(scope="module")
def server(start_server):
    options = ["--max-megabytes", str(MOST_BYTES / 1e6), "--max-megapixels", str(MOST_PIXELS / 1e6)]
    # `rgb-12bpp` is the slowest.
    return start_server(
        "--weights", "rgb-12bpp", *options, "--timeout", str(SECONDS), "--queue", "3"
    )


@pytest.fixture(scope="module")
def good(encoded, chelsea):
    return encoded(chelsea.crop((0, 0, 24, 16)))


def refused(answer, status, words):
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"error", "status", "message"}
    assert words in answer.json["message"]
    assert "\n" not in answer.json["message"]


def chunk(kind, body):
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def png(width, height, *chunks, bits=8, colours=2):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, chunk(b"IEND", b"")])


def test_too_many_bytes(server, good):
    refused(server.post("/purify", bytes(MOST_BYTES + 1)), 413, "more than 0.3 MB")
    # Without a length it is counted as it comes.
    parts = (bytes(10_000) for _ in range(100))
    refused(server.request("POST", "/purify", parts), 413, "more than 0.3 MB")
    length = {"Content-Length": "9" * 5000}
    assert server.request("POST", "/purify", b"", **length).status in (400, 413)
    # Nobody needs to send the body if it is told before.
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(
            b"POST /purify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        began = time.monotonic()
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began < 1


def test_too_many_pixels(server, encoded):
    for size in ((500, 401), (200_001, 1)):
        refused(server.post("/purify", encoded(Image.new("L", size))), 413, "0.2 megapixels")
    # A bomb: a few bytes that would be 10 gigabytes of pixels; nothing is allocated.
    bomb = png(60_000, 60_000, chunk(b"IDAT", zlib.compress(bytes(1000))))
    began = time.monotonic()
    refused(server.post("/purify", bomb), 413, "0.2 megapixels")
    assert time.monotonic() - began < 1


def many_scans(encoded):
    """A JPEG whose last scan comes again and again."""
    whole = encoded(Image.effect_noise((64, 64), 50), "JPEG", progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + 200 * scan + whole[-2:]


def hostile(encoded):
    """Body -> words of the answer."""
    noise = Image.effect_noise((64, 64), 50).convert("RGB")
    whole, jpeg = encoded(noise), encoded(noise, "JPEG")
    frames = encoded(noise, "GIF", save_all=True, append_images=[noise.rotate(90)])
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1 + 8 * 3) * 8))
    return {
        "empty": (b"", "the body is empty"),
        "text": (b"no image", "is not an image of a handled format"),
        "html": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image"),
        "zip": (b"PK\x03\x04" + bytes(100), "is not an image"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "is not an image"),
        "cut off": (whole[: len(whole) // 2], "cannot be read"),
        "cut off jpeg": (jpeg[: len(jpeg) // 2], "cannot be read"),
        "frames": (frames, "has 2 frames"),
        "16 bits": (png(8, 8, pixels, bits=16), "16 bits"),
        "no pixels": (png(8, 8), "cannot be read"),
        "nothing wide": (png(0, 8, pixels), ""),
        "many scans": (many_scans(encoded), "scans, more than 100"),
        "colours": (encoded(noise.convert("CMYK"), "TIFF"), "mode CMYK"),
        "text bomb": (png(64, 64, text), ""),
    }


@pytest.mark.parametrize(
    "name",
    [
        "empty", "text", "html", "zip", "postscript", "cut off", "cut off jpeg", "frames",
        "16 bits", "no pixels", "nothing wide", "many scans", "colours", "text bomb",
    ],
)  # fmt: skip
def test_a_hostile_body_is_refused_in_a_line(server, encoded, name):
    body, words = hostile(encoded)[name]
    began = time.monotonic()
    refused(server.post("/purify", body), 422, words)
    assert time.monotonic() - began < SECONDS


def many_tags():
    """A PNG whose EXIF holds twenty thousand entries."""
    entries = b"".join(struct.pack("<HHII", 0x9000 + n, 3, 1, n) for n in range(20_000))
    pointer = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    exif = b"II*\0\x08\0\0\0" + pointer + struct.pack("<H", 20_000) + entries + bytes(4)
    return png(8, 8, chunk(b"eXIf", exif), chunk(b"IDAT", zlib.compress(bytes(25 * 8))))


def many_chunks():
    """A damaged PNG, and in it more chunks than anybody can look at one by one."""
    return png(8, 8, 20_000 * chunk(b"abCd", b""), chunk(b"IDAT", zlib.compress(bytes(20))))


def test_what_is_made_to_take_minutes_takes_none(server):
    began = time.monotonic()
    answer = server.post("/purify", many_tags())
    assert answer.status == 200
    assert answer.headers["comdefend-notes"] == "some EXIF left behind: cannot be read"
    refused(server.post("/purify", many_chunks()), 422, "cannot be read")
    assert time.monotonic() - began < SECONDS


def test_damaged_files_never_make_it_fail(server, encoded, chelsea):
    draw = random.Random(0)
    image = chelsea.crop((0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x013B] = "an artist"
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"):
        whole = encoded(image, format, **({} if format in ("BMP", "GIF") else {"exif": exif}))
        for _ in range(8):
            damaged = bytearray(whole)
            for _ in range(draw.randrange(1, 6)):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            answer = server.post("/purify", bytes(damaged))
            assert answer.status in (200, 413, 422), (format, answer.body)
            if answer.status != 200:
                refused(answer, answer.status, "the body ")
    assert server.get("/healthz").status == 200


def test_what_is_no_request_for_an_image(server, encoded, good):
    refused(server.post("/purify?format=exe", good), 422, "unknown format; known: png, jpeg")
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(server.post("/purify", good, **form), 415, "not a form")
    refused(server.post("/classify", good), 404, "not found")
    refused(server.post("/purify", good, Host="comdefend.example"), 421, "localhost")
    assert server.post("/purify", good, Host="[::1]:8000").status == 200
    alpha = Image.new("RGBA", (8, 8), (1, 2, 3, 4))
    refused(server.post("/purify?format=jpeg", encoded(alpha)), 422, "alpha channel")


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + 100_000 * b"x",
        b"POST /purify HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /purify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["nonsense", "long headers", "negative", "two lengths", "bad chunks", "tls"],
)
def test_what_is_no_http_is_refused(server, request_):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request_)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"status": 400' in answer


def test_a_full_queue_refuses_at_once_and_the_rest_is_answered(server, encoded, chelsea):
    body = encoded(chelsea.crop((0, 0, 48, 48)))
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: server.post("/purify", body), range(12)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 3
    for answer in answers:
        if answer.status == 503:
            refused(answer, 503, "again later")
            assert answer.headers["retry-after"] == "1"
    assert statuses.count(503) >= 1


def slow_headers(server):
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(b"POST /purify HTTP/1.1\r\nHost: localhost\r\nX: ")
    return client


def slow_body(server):
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(b"POST /purify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
    return client


def silent(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def endless_body_after_the_answer(server):
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
    return client


def test_slow_clients_hold_nothing(server, good):
    kinds = [slow_headers, slow_body, silent, endless_body_after_the_answer]
    clients = [(kind, kind(server)) for kind in kinds for _ in range(25)]
    stop = threading.Event()

    def dribble():
        # A byte now and then keeps no connection alive.
        while not stop.wait(0.2):
            for kind, client in clients:
                try:
                    if kind is not silent:
                        client.sendall(b"x")
                except OSError:
                    pass

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        began = time.monotonic()
        assert server.post("/purify", good).status == 200
        assert time.monotonic() - began < 1.5
        for kind, client in clients:
            client.settimeout(max(0.1, began + 3 * SECONDS + 5 - time.monotonic()))
            answer = b""
            try:
                while part := client.recv(65536):
                    answer += part
            except ConnectionResetError:
                pass
            expected = b" 200 " if kind is endless_body_after_the_answer else b" 408 "
            assert expected in answer, (kind, answer)
    finally:
        stop.set()
        thread.join()
        for _, client in clients:
            client.close()


def test_a_client_that_never_takes_its_answer_is_dropped(server, encoded):
    """Thousands of health checks in one go, none of their answers read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5)
        client.connect(("127.0.0.1", server.port))
        client.setblocking(False)
        ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                client.send(ask)
            except BlockingIOError:
                time.sleep(0.1)
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            pytest.fail("it still holds the connection")


def test_too_many_connections_are_refused_and_the_rest_goes_on(server, good):
    from comdefend.service.connections import MOST

    clients = [silent(server) for _ in range(MOST + 20)]
    try:
        head = clients[-1].recv(4096)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections" in head
    finally:
        for client in clients:
            client.close()
    time.sleep(0.5)
    assert server.post("/purify", good).status == 200
