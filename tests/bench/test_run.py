import os
import signal
import subprocess
import sys

import psutil
import pytest

from comdefend import zoo
from comdefend.bench import flops, jobs
from comdefend.bench.jobs import Job, check_job
from comdefend.bench.record import Record, select
from comdefend.bench.tables import markdown_table
from comdefend.common.json_files import load_json
from comdefend.engines.arrays import choice_for
from comdefend.errors import InputError

BENCH = [sys.executable, "-m", "comdefend", "bench"]
FILES = {"bench.json", "bench.md", "bench-area.svg", "bench-batch.svg"}


@pytest.mark.slow
def test_a_run_by_command_line(tiny, tmp_path):
    out = subprocess.run(
        [*BENCH, "-w", tiny, "--shape", "2x8x8", "--rounds", "2", "--threads", "1", "-o", "out"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert "non-local means" in out.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    record = load_json(Record, tmp_path / "out/bench.json")
    assert (tmp_path / "out/bench.md").read_text() == markdown_table(record)
    assert select(record.rows, weights=tiny, engine="torch", precision="float32")
    assert {row.weights for row in record.rows} > {"jpeg:75", "median:3", "tv:0.1", "nl-means"}
    for row in record.rows:
        assert row.shape == (2, 3, 8, 8)
        assert len(row.seconds_rounds) == 2
        assert row.images_per_second == pytest.approx(2 / row.seconds)
        assert row.resident_mb > 100
    for row in select(record.rows, kind="purifier"):
        assert row.flipped_bits < 0.05
        assert row.gflop == flops.purifier_flop(zoo.load(tiny).config, 2, 8, 8) / 1e9
        assert row.share_of_peak is None or row.share_of_peak > 0
    assert "float32" in {peak.precision for peak in record.peaks}
    assert all(left_out.reason for left_out in record.left_out)


@pytest.mark.slow
def test_a_quick_run_says_what_auto_takes(tiny, tmp_path):
    command = [*BENCH, "--quick", "-w", tiny, "--threads", "1", "-o", "out"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    taken = choice_for(zoo.load_arrays(tiny))
    assert f"{tiny}: auto takes openvino in {taken.precision} (fastest first, " in out.stdout
    record = load_json(Record, tmp_path / "out/bench.json")
    assert select(record.rows, weights=tiny, engine="openvino", precision=taken.precision)
    assert select(record.rows, weights="webp:75")
    assert {row.size for row in record.rows} == {(1, 224, 224)}


def test_what_a_machine_lacks_costs_no_process(tiny):
    check_job(Job("purifier", tiny, "openvino", "float32"))
    for engine, precision in (("onnxruntime", "int8"), ("openvino", "int8")):
        with pytest.raises(InputError, match="precision"):
            check_job(Job("purifier", tiny, engine, precision))


@pytest.mark.parametrize(("bits", "has"), [(8, True), (7, False), (None, False)])
def test_a_product_without_vector_units_is_no_peak(monkeypatch, bits, has):
    monkeypatch.setattr(jobs, "filter_bits", lambda: bits)
    product = Job("product", "matrix product", "torch", "int8")
    if has:
        check_job(product)
    else:
        with pytest.raises(InputError, match="no product of whole bytes"):
            check_job(product)
    check_job(Job("product", "matrix product", "torch", "float32"))


def test_a_run_that_is_stopped_leaves_nothing(tiny, tmp_path):
    command = [*BENCH, "-w", tiny, "--shape", "2x8x8", "-o", "out"]
    # Shells start background processes with Ctrl-C ignored.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    run = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    )
    # Progress names a job before its process starts.
    children = []
    while not children and run.stderr.readline():
        children = psutil.Process(run.pid).children(recursive=True)
    assert children
    run.send_signal(signal.SIGINT)
    try:
        _, stderr = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "Traceback" not in stderr
    assert not (tmp_path / "out").exists()
    # Where nobody collects orphans, the dead remain as zombies.
    alive = psutil.wait_procs(children, timeout=10)[1]
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
