import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import comdefend
from comdefend.data.image_files import read_image
from comdefend.engines.engine import Engine
from comdefend.purify import files, pipeline
from comdefend.zoo import save_weights

SHAPES = [(32, 32), (40, 28), (28, 40), (70, 50)]


def make_images(folder, count, shapes=SHAPES):
    folder.mkdir()
    random = np.random.default_rng(0)
    for n in range(count):
        pixels = random.integers(0, 256, (*shapes[n % len(shapes)], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:04}.png", compress_level=1)
    return folder


def pixels_of(path):
    return torch.from_numpy(read_image(path).pixels(3))


def test_many_images_in_order_each_as_if_alone(tmp_path, tiny, purify_alone, monkeypatch):
    folder = make_images(tmp_path / "in", 40)
    (folder / "0013.png").write_bytes((folder / "0013.png").read_bytes()[:900])
    batches = []
    call = Engine.purify_bytes
    monkeypatch.setattr(
        Engine, "purify_bytes", lambda engine, x: (batches.append(len(x)), call(engine, x))[1]
    )
    seen = []
    results = comdefend.purify_files(
        folder, tmp_path / "out", tiny, precision="float32", engine="torch",
        progress=lambda result, total: seen.append((result, total)),
    )  # fmt: skip
    assert [r.source.name for r in results] == [f"{n:04}.png" for n in range(40)]
    assert seen == [(result, 40) for result in results]
    assert [r.source.name for r in results if r.status != "purified"] == ["0013.png"]
    assert len(batches) == len(SHAPES)
    for result in results:
        if result.status == "purified":
            alone = purify_alone(tiny, pixels_of(result.source)).int()
            together = pixels_of(result.target).int()
            # Rounding may turn a bit, or a value on the edge between two; another image differs
            # everywhere.
            assert ((together - alone).abs() > 1).float().mean() < 0.1
    assert not any(thread.name.startswith("comdefend") for thread in threading.enumerate())


@pytest.mark.parametrize("limit", [1, 5000, 10_000])
def test_pixels_in_flight_are_bounded(tmp_path, tiny, monkeypatch, limit):
    folder = make_images(tmp_path / "in", 12, [(64, 64), (80, 70), (30, 20)])
    monkeypatch.setattr(pipeline, "_IN_FLIGHT", limit)
    monkeypatch.setattr(pipeline, "_LEAST_PIXELS", 1)
    lock, held, most = threading.Lock(), [0], [0]

    def note(function, sign):
        def noted(*arguments):
            source = arguments[0] if sign > 0 else folder / arguments[0].name
            with Image.open(source) as image, lock:
                held[0] += sign * image.width * image.height
                most[0] = max(most[0], held[0])
            return function(*arguments)

        return noted

    monkeypatch.setattr(pipeline, "read_image", note(pipeline.read_image, 1))
    monkeypatch.setattr(pipeline, "write_image", note(pipeline.write_image, -1))
    results = comdefend.purify_files(folder, tmp_path / "out", tiny, engine="torch")
    assert {r.status for r in results} == {"purified"}
    assert most[0] <= max(limit, 80 * 70)


def test_an_image_does_not_wait_for_its_like_forever(tmp_path, tiny, monkeypatch):
    # An odd one, and then more than eight batches of others.
    folder = make_images(tmp_path / "in", 60, [(10, 10)] + [(30, 30)] * 59)
    monkeypatch.setattr(pipeline, "_LEAST_PIXELS", 1)
    at = []
    read = pipeline.read_image
    monkeypatch.setattr(pipeline, "read_image", lambda path: (at.append(path), read(path))[1])
    monkeypatch.setattr(pipeline, "_IN_FLIGHT", 20_000)
    # Noted as it is handed on: which of several is written first is up to their threads.
    computed = {}
    write = pipeline.write_image

    def noted(target, *others):
        computed[target.stem] = len(at)
        return write(target, *others)

    monkeypatch.setattr(pipeline, "write_image", noted)
    comdefend.purify_files(folder, tmp_path / "out", tiny, engine="torch", tile=40)
    # Read ahead of the odd one: no more than the window, and what may be in flight.
    assert computed[min(computed)] < 50


def test_a_fault_ends_the_work_and_its_threads(tmp_path, tiny, monkeypatch):
    folder = make_images(tmp_path / "in", 8)

    def broken(*arguments):
        raise RuntimeError("a fault of ours")

    for name in ("read_image", "write_image"):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, name, broken)
            with pytest.raises(RuntimeError, match="a fault of ours"):
                comdefend.purify_files(folder, tmp_path / "out", tiny, engine="torch")
    assert not [t for t in threading.enumerate() if t.name.startswith("comdefend")]


def test_out_of_memory_is_a_line_and_stops_nothing(tmp_path, tiny, monkeypatch):
    folder = make_images(tmp_path / "in", 6)
    for name in ("read_image", "write_image"):
        real = getattr(pipeline, name)

        def short(path, *arguments, real=real):
            if path.name == "0002.png":
                raise MemoryError
            return real(path, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(pipeline, name, short)
            results = comdefend.purify_files(
                folder, tmp_path / "out", tiny, engine="torch", overwrite=True
            )
        failed = [(r.source.name, r.error) for r in results if r.status == "failed"]
        assert failed == [("0002.png", "needs more memory than there is")]


def test_torch_computes_only_what_needs_it(tmp_path, tiny, monkeypatch):
    folder = make_images(tmp_path / "in", 2)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, tiny, {})
    opened = []

    def note(*arguments):
        opened.append(type(files_open(*arguments)).__name__)
        return files_open(*arguments)

    files_open = files.open_for_files
    monkeypatch.setattr(files, "open_for_files", note)
    for weights, options in (
        (path, {}), (path, {"engine": "onnxruntime"}), (path, {"engine": "torch"}), (tiny, {}),
    ):  # fmt: skip
        comdefend.purify_files(folder, tmp_path / "out", weights, overwrite=True, **options)
    assert opened == ["ByteEngine", "ByteEngine", "Engine", "Engine"]


def test_ctrl_c_leaves_nothing_half_written(tmp_path, tiny):
    folder = make_images(tmp_path / "in", 30, [(300, 400)])
    # Slow to write: 6 megapixels of noise.
    Image.effect_noise((3000, 2000), 90).convert("RGB").save(folder / "0000.png", compress_level=1)
    save_weights(tmp_path / "tiny.safetensors", tiny, {})
    command = [
        sys.executable, "-m", "comdefend", "purify", folder, tmp_path / "out",
        "--weights", tmp_path / "tiny.safetensors", "--engine", "torch",
    ]  # fmt: skip
    # A shell that starts the tests in the background has them, and all they start, ignore it.
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    # While the large one is being written.
    while not any((tmp_path / "out").glob(".comdefend-*")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.strip().endswith("when called again")
    left = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert set(left) < {f"{n:04}.png" for n in range(30)}
    for name in left:
        assert read_image(tmp_path / "out" / name).image.size == (400, 300)


MEASURED = """
import re, sys
from pathlib import Path
from comdefend import purify_files
results = purify_files(sys.argv[1], sys.argv[2], sys.argv[3])
names = [r.source.name for r in results if r.status == "purified"]
assert names == sorted(names)
kib = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(len(names), int(kib) // 1024)
"""


def measured(source, target, weights):
    """Purify in a process of its own; return how many files, and its most memory in MiB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    out = subprocess.run(
        [sys.executable, "-c", MEASURED, source, target, weights],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return tuple(map(int, re.findall(r"\d+", out.stdout)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_photo_of_24_megapixels_needs_less_than_1_5_gib(tmp_path, chelsea):
    chelsea.resize((6000, 4000)).save(tmp_path / "large.jpg")
    count, mib = measured(tmp_path / "large.jpg", tmp_path / "out.png", "rgb-variable@2")
    assert count == 1
    assert mib < 1536, mib


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_panorama_of_100_megapixels_needs_less_than_1_5_gib(tmp_path, chelsea):
    chelsea.resize((20_000, 5000)).save(tmp_path / "panorama.jpg")
    count, mib = measured(tmp_path / "panorama.jpg", tmp_path / "out.png", "rgb-12bpp-lite")
    assert count == 1
    assert mib < 1536, mib
    with Image.open(tmp_path / "out.png") as out:
        assert out.size == (20_000, 5000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_images_in_order_and_in_bounded_memory(tmp_path, tiny):
    save_weights(tmp_path / "tiny.safetensors", tiny, {})
    folder = make_images(tmp_path / "in", 1000, [(300, 400), (200, 200), (600, 400)])
    (folder / "0500.png").write_bytes(b"nonsense")
    count, mib = measured(folder, tmp_path / "out", tmp_path / "tiny.safetensors")
    assert count == 999
    # What the engine and torch themselves take, and no more than 64 megapixels in flight.
    assert mib < 1536
    assert len(list((tmp_path / "out").iterdir())) == 999
