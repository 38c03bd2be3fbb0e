"""The same work on a Ray cluster: real processes on this machine, of which one node is killed."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pytest
from PIL import Image

import comdefend
from comdefend.errors import DataMissingError, InputError, RemoteError
from comdefend.integrations.ray import _Actor, purify_files
from tests.integrations.clusters import ON_ONE_CORE, workers_of
from tests.servers import free_port


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for n in range(120):
        pixels = random.integers(0, 256, (120, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:03}.png", compress_level=1)
    (folder / "bad.png").write_bytes(b"nonsense")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_is_killed_and_every_file_comes_out_once_and_whole(cluster, photos, tmp_path):
    node = cluster.add_node(**ON_ONE_CORE)
    target, weights, killed = tmp_path / "clean", "rgb-12bpp-lite", []

    def kill():
        until = time.monotonic() + 300
        while time.monotonic() < until:
            written = len(list(target.glob("*.png")))
            if written >= 20 and (found := workers_of(node, "MapBatches(_Actor)")):
                killed.extend([written, *found])
                cluster.remove_node(node, allow_graceful=False)
                return
            time.sleep(0.02)

    seen = []
    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill)
        results = purify_files(
            cluster.address, photos, target, weights, engine="torch",
            progress=lambda result, total: seen.append((result.source.name, total)),
        )  # fmt: skip
        killing.result(timeout=300)
    # It was at work, and in the middle.
    assert len(killed) > 1
    assert killed[0] < 120
    names = [f"{n:03}.png" for n in range(120)]
    assert [r.source.name for r in results] == [*names, "bad.png"]
    assert {r.status for r in results[:-1]} == {"purified"}
    assert results[-1].status == "failed"
    assert results[-1].error.startswith("is not an image of a handled format")
    assert sorted(seen) == [(name, 121) for name in [*names, "bad.png"]]
    # As on one machine: rounding may turn a bit, so most pixels are compared, not all.
    assert sorted(p.name for p in target.iterdir() if not p.name.startswith(".")) == names
    comdefend.purify_files(photos / "007.png", tmp_path / "alone.png", weights, engine="torch")
    with Image.open(tmp_path / "alone.png") as alone:
        expected = np.asarray(alone, int)
    for name in names:
        with Image.open(target / name) as image:
            image.load()
            assert image.size == (120, 120)
            if name == "007.png":
                assert (np.abs(np.asarray(image, int) - expected) > 1).mean() < 0.1
    # A second run skips what is there, and does what is not.
    (target / "005.png").unlink()
    again = purify_files(cluster.address, photos, target, weights, engine="torch")
    assert [r.source.name for r in again if r.status == "purified"] == ["005.png"]
    assert [r.status for r in again].count("skipped") == 119
    assert (target / "005.png").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_where_the_head_is_lost_a_line_says_so_and_a_second_run_does_the_rest(
    cluster, photos, tmp_path
):
    cluster.add_node(**ON_ONE_CORE)
    target, weights = tmp_path / "clean", "rgb-12bpp-lite"
    command = [sys.executable, "-m", "comdefend", "purify", photos, target, "--weights", weights]
    process = subprocess.Popen(
        [*command, "--ray", cluster.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    until = time.monotonic() + 300
    while len(list(target.glob("*.png"))) < 20 and time.monotonic() < until:
        time.sleep(0.02)
    address = cluster.address
    cluster.remove_node(cluster.head_node, allow_graceful=False)
    written = len(list(target.glob("*.png")))
    assert 20 <= written < 120
    out, error = process.communicate(timeout=240)
    # What Ray says of its own processes it prints itself.
    assert process.returncode == 1
    assert "Traceback" not in out
    assert error.splitlines()[-1] == f"error: Ray at {address}: the head of the cluster is lost"
    assert not list(target.glob(".*"))
    for path in target.iterdir():
        with Image.open(path) as image:
            image.load()
    results = comdefend.purify_files(photos, target, weights)
    assert [r.status for r in results].count("skipped") >= written
    assert len(list(target.glob("*.png"))) == 120


def test_a_dead_cluster_is_a_line(photos, tmp_path):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RemoteError, match=rf"Ray at {address}: no cluster answers \(Connection"):
        purify_files(address, photos, tmp_path / "out")
    with pytest.raises(InputError, match=r"a Ray cluster is HOST:PORT, .* not 'head'"):
        purify_files("head", photos, tmp_path / "out")
    with pytest.raises(DataMissingError, match="no such file or folder"):
        purify_files(address, tmp_path / "none", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_what_only_one_process_has_is_refused_before_the_cluster_is_asked(photos, tmp_path):
    fsspec.filesystem("memory").put(f"{photos}/", "/in/", recursive=True)
    cached, out = "simplecache::memory://in", tmp_path / "out"
    for source, target in ((photos, "memory://out"), ("memory://in", out), (cached, out)):
        with pytest.raises(InputError, match=r"memory://.*: is in the memory of one process"):
            purify_files("local", source, target)
    actor = _Actor(comdefend.load("rgb-12bpp-lite"), "torch", "auto", 0, False, None, "cpu")
    source = str(photos / "000.png")
    answer = actor({"source": np.array([source]), "target": np.array(["memory://out/000.png"])})
    assert answer["status"] == ["failed"]
    assert answer["error"][0].startswith("memory://out/000.png: is in the memory of one process")
    assert not (tmp_path / "out").exists()
