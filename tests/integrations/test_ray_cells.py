"""An evaluation on a Ray cluster: as on one machine, cell by cell, whatever becomes of a node."""

import random
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import torch
from torch import nn

import comdefend
from comdefend.errors import InputError, RemoteError
from comdefend.integrations.ray import on_cluster
from comdefend.integrations.ray_cells import _Schedule
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from tests.integrations.clusters import ON_ONE_CORE, workers_of
from tests.servers import free_port


@pytest.fixture
def asked(fashion):
    """What is evaluated: chains of adaptive attacks, and attacked images that cells share."""
    torch.manual_seed(0)
    config = PurifierConfig(channels=1, encoder_widths=(4,), decoder_widths=(4,), code_maps=4)
    return {
        "classifier": fashion.classifier, "images": fashion.images[:10],
        "labels": fashion.labels[:10], "defenses": [ComDefend(config).eval(), "noise:0.05"],
        "attacks": ["fgsm", "bim:5"], "eps": [2, 8], "adaptive_steps": 5,
    }  # fmt: skip


@pytest.fixture
def one_thread():
    """As many as a worker of Ray computes with: sums are rounded in the same way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def steps_of(asked, folder):
    """The steps of an evaluation, and the store, as workers get them."""
    seen = []

    def workers(steps, store, progress):
        seen.extend([steps, store])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        comdefend.evaluate(**asked, output=folder, workers=workers)
    return seen


def test_a_cell_starts_after_what_it_starts_from_and_attacks_are_made_once(asked, tmp_path):
    steps, store = steps_of(asked, tmp_path)
    schedule, order = _Schedule(steps, store), random.Random(0)
    running, finished, most = [], set(), 0
    while schedule.waiting or running:
        running += schedule.start()
        most = max(most, len(running))
        names = [name for at, cell in running for name in schedule.shared(at, cell)]
        assert len(names) == len(set(names))
        assert all(set(cell.after) <= finished for _, cell in running)
        _, cell = running.pop(order.randrange(len(running)))
        finished.add(cell.digest)
        schedule.finish(cell, {"correct": "1"}, {})
    assert finished == {cell.digest for _, cell in steps}
    # The defences are not measured one after the other.
    assert most > 5
    # What is in the store is not measured again.
    assert not _Schedule(steps, store).waiting


def plain(record):
    rows = [msgspec.structs.replace(row, seconds=0) for row in record.results]
    return rows, record.defenses, record.checks, record.labels, record.data


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_is_killed_and_the_record_is_that_of_one_machine(
    cluster, asked, tmp_path, one_thread
):
    node, killed, done = cluster.add_node(**ON_ONE_CORE), [], []

    def kill():
        until = time.monotonic() + 600
        while time.monotonic() < until:
            if len(set(done)) > 5 and (found := workers_of(node, "_measure")):
                killed.extend([done[-1], *found])
                cluster.remove_node(node, allow_graceful=False)
                return
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill)
        far = comdefend.evaluate(
            **asked, output=tmp_path / "far", workers=on_cluster(cluster.address),
            progress=lambda label, number, total: done.append(number),
        )  # fmt: skip
        killing.result(timeout=10)
    # It was at work, and in the middle.
    assert len(killed) > 1
    assert 0 < killed[0] < done[-1]
    near = comdefend.evaluate(**asked, output=tmp_path / "near")
    assert plain(far.record) == plain(near.record)
    assert (far.record.threads, near.record.threads) == (1, 1)
    # The same results and attacked images are kept, so either goes on where the other stopped.
    kept = [
        {path.name for path in (tmp_path / where / "cells").iterdir()} for where in ("far", "near")
    ]
    assert kept[0] == kept[1]
    next((tmp_path / "far/cells").glob("*.json")).unlink()
    again = comdefend.evaluate(
        **asked, output=tmp_path / "far", workers=on_cluster(cluster.address)
    )
    assert plain(again.record) == plain(near.record)


class Own(nn.Module):
    """A classifier in a module that only this process has."""

    def forward(self, images):
        return images.flatten(1)[:, :10]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_machine_cannot_measure_is_a_line(cluster, asked, tmp_path, monkeypatch):
    def line(error, **changes):
        with pytest.raises(error) as caught:
            comdefend.evaluate(
                **{**asked, **changes}, output=tmp_path / "out", workers=on_cluster(cluster.address)
            )
        assert "\n" not in str(caught.value)
        return str(caught.value)

    module = types.ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", module)
    module.Own = Own
    monkeypatch.setattr(Own, "__module__", "only_here")
    said = line(RemoteError, classifier=Own().eval())
    assert said.endswith("cannot open what is evaluated (No module named 'only_here')")

    def fails(model, images, labels, eps):
        raise OSError("the disk is\nfull")

    # Sent whole, as from a notebook; and its error is that of one machine.
    monkeypatch.setattr(fails, "__module__", "__main__")
    assert "failed: OSError: the disk is full" in line(InputError, attacks=[fails])
    monkeypatch.setattr("comdefend.evaluation.run.versions", lambda: {"torch": "1.0"})
    assert line(RemoteError).endswith(f"has torch {torch.__version__}, the driver has 1.0")
    assert not (tmp_path / "out/record.json").exists()


def test_a_dead_cluster_is_a_line_before_anything_is_opened(asked, tmp_path):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RemoteError, match=rf"Ray at {address}: no cluster answers \(Connection"):
        on_cluster(address)
    with pytest.raises(InputError, match=r"a Ray cluster is HOST:PORT, .* not 'head'"):
        on_cluster("head")
