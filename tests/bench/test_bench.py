import io
import json
import os
import signal
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from comdefend.bench import flops, rounds, worker
from comdefend.bench.figures import FIGURES
from comdefend.bench.jobs import CLASSIFIERS, PRODUCTS, Job
from comdefend.bench.pictures import pictures
from comdefend.bench.process import Worker
from comdefend.bench.ratios import fastest, ratios
from comdefend.bench.tables import figure, markdown_table
from comdefend.errors import EngineError
from comdefend.nn.config import GRAY_4BPP, RGB_12BPP, PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.weights.zoo import save_weights

TINY = PurifierConfig(encoder_widths=(8,), decoder_widths=(8,), code_maps=6, downscale=2)
BENCH = [sys.executable, "-m", "comdefend", "bench"]
FIELDS = {
    "kind", "weights", "engine", "precision", "shape", "threads", "seconds", "seconds_quartiles",
    "seconds_rounds", "images_per_second", "gflop", "gflops", "share_of_peak", "psnr_to_float32",
    "flipped_bits", "psnr_to_images", "resident_mb",
}  # fmt: skip

REDUCED = PurifierConfig(encoder_widths=(8, 8), decoder_widths=(8,), reduction=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    save_weights(path, ComDefend(TINY), {})
    return str(path)


@pytest.mark.parametrize("config", [RGB_12BPP, GRAY_4BPP, TINY, REDUCED])
def test_operations_are_those_of_the_convolutions(config):
    layers = [*pairwise(config.encoder_channels), *pairwise(config.decoder_channels)]
    for count, height, width in ((1, 12, 16), (3, 7, 9)):
        d = config.multiple
        positions = count * -(-height // d) * -(-width // d)
        wanted = 2 * positions * sum(9 * inputs * outputs for inputs, outputs in layers)
        assert flops.purifier_flop(config, count, height, width) == wanted
        with FlopCounterMode(display=False) as counter:
            ComDefend(config).eval()(torch.rand(count, config.channels, height, width))
        assert counter.get_total_flops() == wanted


def test_figures_have_three_digits_and_no_exponent():
    found = [figure(value) for value in (1324.4, 99_960, 999.6, 99.96, 44.72, 0.7579, 0)]
    assert found == ["1,320", "100,000", "1,000", "100", "44.7", "0.758", "0"]


def test_operations_of_known_networks():
    # 1.57 million multiply-adds a pixel, and the 4.09 billion of ResNet-50.
    assert flops.purifier_flop(RGB_12BPP, 1, 1, 1) == pytest.approx(2 * 1.57e6, rel=0.005)
    resnet = next(job for job in CLASSIFIERS if job.name == "resnet50")
    assert flops.job_flop(resnet, 3, (1, 224, 224)) == pytest.approx(2 * 4.09e9, rel=0.005)
    assert flops.job_flop(PRODUCTS[0], 1, (1, 1, 1)) == 2 * 2048**3


@pytest.mark.parametrize("shape", [(5, 32, 32), (1, 600, 40), (2, 3, 5)])
def test_pictures_have_any_shape_and_differ(shape):
    for channels in (1, 3):
        images = pictures(channels, shape)
        assert images.shape == (shape[0], channels, *shape[1:])
        assert images.dtype == torch.float32
        assert 0 <= images.min() <= images.max() <= 1
    assert len({image.numpy().tobytes() for image in images}) == len(images)


def answers(job, *requests, channels=3, shape=(1, 8, 8)):
    """What a worker would say, in this process."""
    threads = torch.get_num_threads()
    first = {"job": job.__dict__, "channels": channels, "shape": shape, "threads": threads}
    lines = io.StringIO("".join(json.dumps(request) + "\n" for request in (first, *requests)))
    out = io.StringIO()
    worker.serve(lines, out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_worker_times_and_judges_an_engine(tiny, monkeypatch):
    monkeypatch.setitem(worker.JUDGED, 3, (1, 16, 16))
    job = Job("purifier", tiny, "torch", "float32")
    ready, timed, quality = answers(job, {"calls": 3}, {"quality": True})
    assert ready["seconds"] > 0
    assert ready["resident_mb"] > 100
    assert timed["seconds"] > 0
    assert quality["psnr_to_float32"] is None or quality["psnr_to_float32"] > 100
    assert quality["flipped_bits"] < 0.01
    assert 0 < quality["psnr_to_images"] < 60


@pytest.mark.parametrize("name", ["jpeg:75", "median:3", "tv:0.1", "nl-means"])
def test_a_worker_times_other_defences(name):
    ready, timed = answers(Job("transform", name, "any", None), {"calls": 2})
    assert ready["seconds"] > 0
    assert timed["seconds"] > 0


@pytest.mark.parametrize("job", CLASSIFIERS[:1], ids=str)
def test_a_worker_times_classifiers(job):
    (ready,) = answers(job, shape=(1, 64, 64))
    assert ready["seconds"] > 0


def test_a_worker_says_what_it_cannot_do(tiny):
    (refused,) = answers(Job("purifier", tiny, "torch", "float8"))
    assert "float8" in refused["refused"]
    (refused,) = answers(Job("purifier", tiny, "tpu", "float32"))
    assert refused["refused"].startswith("unknown engine 'tpu'")


def test_a_process_that_dies_is_an_error_and_not_the_end(tiny):
    job = Job("purifier", tiny, "torch", "float32")
    with Worker(job, 3, (1, 8, 8), threads=1) as process:
        assert process.time(2) > 0
        assert process.resident_mb > 100
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="killed by signal 9"):
            process.time(1)


def test_slow_jobs_sit_out_and_busy_memory_makes_groups(monkeypatch):
    """With processes that only count what they are asked for."""
    opened, asked = [], []

    class Counting:
        base_mb, resident_mb = 1.0, 10.0

        def __init__(self, job, channels, shape, threads):
            if job.engine == "missing":
                raise EngineError("not here")
            self.job, self.estimate = job, 25.0 if job.engine == "slow" else 0.001
            opened.append(job.engine)

        def time(self, calls):
            asked.append((self.job.engine, calls))
            return self.estimate

        def quality(self):
            return {"flipped_bits": 0.0}

        def __enter__(self):
            return self

        def __exit__(self, *_):
            opened.append("closed")

    monkeypatch.setattr(rounds, "Worker", Counting)
    monkeypatch.setattr(rounds, "job_flop", lambda *_: 10**9)
    jobs = [Job("purifier", "w", engine, "float32") for engine in ("slow", "missing", "fast")]
    refused, qualities, turns = {}, {}, []
    measure = lambda: rounds.run_rounds(  # noqa: E731
        jobs, {}, (1, 8, 8), 7, 1, refused, qualities, lambda _, n: turns.append(n)
    )
    found = {t.job.engine: t for t in measure()}
    assert refused == {jobs[1]: ("not here", (1, 8, 8))}
    assert len(found["slow"].seconds) == rounds.FEWEST_ROUNDS
    assert len(found["fast"].seconds) == 7
    assert ("fast", 300) in asked
    assert ("slow", 1) in asked
    assert found["fast"].peaks["float32"] == [1000.0] * 7
    assert set(qualities) == {jobs[0], jobs[2]}
    assert sum(turns) == 3 * (1 + 7)
    assert opened.index("fast") < opened.index("closed")
    # Without room each is alone with the products, which are opened anew.
    opened.clear()
    monkeypatch.setattr(rounds, "_free_mb", lambda: 0.0)
    assert len(measure()) == 2 * (1 + len(PRODUCTS))
    assert opened.index("closed") < opened.index("fast")


def row(weights, engine, precision, seconds, kind="purifier", shape=(1, 3, 224, 224), **more):
    found = dict.fromkeys(FIELDS)
    about = {"kind": kind, "weights": weights, "engine": engine, "precision": precision}
    timed = {
        "shape": list(shape),
        "threads": 2,
        "seconds": statistics.median(seconds),
        "seconds_quartiles": [min(seconds), max(seconds)],
        "seconds_rounds": seconds,
        "images_per_second": shape[0] / statistics.median(seconds),
        "resident_mb": 1000,
    }
    return found | about | timed | more


ROWS = [
    row("full", "torch", "float32", [4.0, 8.0, 4.0], gflop=100, share_of_peak=0.5,
        flipped_bits=0.0),
    row("full", "openvino", "bfloat16", [1.0, 2.0, 1.0], gflop=100, share_of_peak=0.7,
        flipped_bits=1e-3, psnr_to_float32=50.0),
    row("lite", "torch", "float32", [0.4, 0.8, 0.4], gflop=5, share_of_peak=0.2, flipped_bits=0.0),
    row("lite", "openvino", "bfloat16", [0.1, 0.2, 0.1], gflop=5, share_of_peak=0.3,
        flipped_bits=1e-3, psnr_to_float32=51.0),
    row("resnet50", "openvino", "bfloat16", [0.2, 0.4, 0.2], "classifier", gflop=8),
    row("jpeg:75", "Pillow", None, [0.01, 0.01, 0.01], "transform"),
    row("full", "torch", "float32", [0.1], gflop=2, shape=(1, 3, 32, 32), flipped_bits=0.0),
]  # fmt: skip
RECORD = {
    "rows": ROWS, "sweep": [], "ratios": ratios(ROWS), "threads": 2, "rounds": 3, "torch_mb": 300,
    "peaks": [{"precision": "float32", "gflops": 180.0}], "architecture": "x86_64",
    "vectors": "AVX512", "flags": ["avx512_bf16"], "versions": {"torch": "2"},
    "left_out": [
        {"weights": w, "engine": "tpu", "precision": "int8", "shape": None, "reason": "not here"}
        for w in ("full", "lite")
    ],
}  # fmt: skip


def test_ratios_pair_rounds_of_one_image_of_224():
    found = [(r["what"], r["weights"], r["value"]) for r in ratios(ROWS)]
    assert found == [
        ("against_baseline", "full", 4.0),
        ("against_baseline", "lite", 40.0),
        ("against_resnet", "full", 0.2),
        ("against_resnet", "lite", 2.0),
        ("peak_bfloat16", "full", 0.7),
    ]
    assert ratios(ROWS)[1]["to"] == {"weights": "full", "engine": "torch", "precision": "float32"}
    assert fastest(ROWS, "full", (1, 224, 224)) is ROWS[1]
    assert fastest(ROWS, "full", (2, 224, 224)) is None
    assert ratios(ROWS[-1:]) == []


def test_the_table_says_what_the_record_says():
    text = markdown_table(RECORD)
    assert (
        "| 1 of 224x224 | lite | openvino bfloat16 | 10 | 100 (100 to 200) | – | 30% | 51.0 "
        "| 0.100% | 1,000 |"
    ) in text
    assert "| jpeg:75 | Pillow | 100 |" in text
    assert "- lite by openvino bfloat16: 40 times as fast as full by torch float32" in text
    assert "- full by openvino bfloat16: 70% of a matrix product's speed" in text
    assert "- full tpu int8, lite tpu int8: not here" in text


def test_figures_are_svg_and_equal_for_equal_records():
    for draw in FIGURES.values():
        text = draw(RECORD)
        assert text.startswith("<svg")
        assert "full, torch float32" in text
        assert draw(json.loads(json.dumps(RECORD))) == text


def test_documents_say_what_the_record_says(tmp_path, monkeypatch):
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    import update_docs

    (tmp_path / "docs/records").mkdir(parents=True)
    monkeypatch.setattr(update_docs, "ROOT", tmp_path)
    names = ("bench", "bench-short", "bench-figures")
    empty = "".join(f"<!-- table: {name} --><!-- end -->" for name in names)
    assert update_docs.filled(empty).count("Not run yet: `comdefend bench") == 3
    assert update_docs.figures() == {}
    (tmp_path / "docs/records/bench.json").write_text(json.dumps(RECORD))
    text = update_docs.filled(empty)
    assert "Not run yet" not in text
    assert "| lite | openvino bfloat16 | 100 | 1,000 |" in text
    assert "| full | torch float32 | 4,000 | 1,000 |" in text
    assert {path.name for path in update_docs.figures()} == {"bench-area.svg", "bench-batch.svg"}


@pytest.mark.slow
def test_a_run_by_command_line(tiny, tmp_path):
    out = subprocess.run(
        [*BENCH, "-w", tiny, "--shape", "2x8x8", "--rounds", "2", "--threads", "1", "-o", "out"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert "non-local means" in out.stdout
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"bench.json", "bench.md", "bench-area.svg", "bench-batch.svg"}
    record = json.loads((tmp_path / "out/bench.json").read_text())
    assert (tmp_path / "out/bench.md").read_text() == markdown_table(record)
    assert all(set(found) == FIELDS for found in record["rows"])
    kinds = {(found["weights"], found["engine"], found["precision"]) for found in record["rows"]}
    assert {(tiny, "torch", "float32"), ("jpeg:75", "Pillow", None)} <= kinds
    assert {found["weights"] for found in record["rows"]} > {"median:3", "tv:0.1", "nl-means"}
    for found in record["rows"]:
        assert found["shape"] == [2, 3, 8, 8]
        assert len(found["seconds_rounds"]) == 2
        assert found["images_per_second"] == pytest.approx(2 / found["seconds"])
        assert found["resident_mb"] > 100
        if found["kind"] == "purifier":
            assert found["flipped_bits"] < 0.05
            assert found["gflop"] == flops.purifier_flop(TINY, 2, 8, 8) / 1e9
            assert found["share_of_peak"] is None or 0 < found["share_of_peak"] < 1
    assert {peak["precision"] for peak in record["peaks"]} >= {"float32"}
    assert all(left["reason"] for left in record["left_out"])


def test_a_run_that_is_stopped_leaves_nothing(tiny, tmp_path):
    command = [*BENCH, "-w", tiny, "--shape", "2x8x8", "-o", "out"]
    # Shells start what runs in the background with Ctrl-C ignored.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    run = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    )
    for _ in range(3):
        run.stderr.readline()
    children = psutil.Process(run.pid).children(recursive=True)
    assert children
    run.send_signal(signal.SIGINT)
    try:
        _, complaint = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "Traceback" not in complaint
    assert not (tmp_path / "out").exists()
    # Where nobody collects orphans, the dead remain as zombies.
    alive = psutil.wait_procs(children, timeout=10)[1]
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
