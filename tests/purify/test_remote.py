"""Files at addresses: a real S3 server, a real web server, and file systems of fsspec."""

import json
import shutil
import subprocess
import sys
import uuid
from typing import ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

import comdefend
from comdefend.common.places import place
from comdefend.common.remote import RemotePath
from comdefend.errors import (
    DataMissingError,
    ExtraMissingError,
    InputError,
    OutputError,
    RemoteError,
)
from comdefend.zoo import save_weights
from tests.servers import free_port, server

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def photos(tmp_path):
    """Three images, one that is none, and a text."""
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "deep/er/c.webp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "bad.png").write_bytes(b"nonsense")
    (folder / "notes.txt").touch()
    return folder


@pytest.fixture
def expected(photos, tmp_path, tiny):
    """What is written on a disk."""
    with pytest.warns(UserWarning, match="passed over"):
        comdefend.purify_files(photos, tmp_path / "expected", tiny)
    return {p.relative_to(tmp_path / "expected").as_posix(): p.read_bytes()
            for p in (tmp_path / "expected").rglob("*.png")}  # fmt: skip


def objects(system, root):
    """All objects below a place, by their names there; none that is hidden or half-written."""
    system.invalidate_cache()
    return {path[len(root) + 1 :]: system.cat_file(path) for path in system.find(root)}


def statuses(results):
    return {r.source.name: r.status for r in results}


@pytest.mark.filterwarnings("ignore:passed over")
def test_a_bucket_to_a_bucket_as_on_a_disk(s3, photos, expected, tiny):
    system, bucket = s3
    system.put(f"{photos}/", f"{bucket}/in", recursive=True)
    source, target = f"s3://{bucket}/in", f"s3://{bucket}/out/clean"
    results = comdefend.purify_files(source, target, tiny)
    assert statuses(results) == {
        "a.png": "purified", "b.jpg": "purified", "bad.png": "failed", "c.webp": "purified",
    }  # fmt: skip
    (failed,) = (r for r in results if r.status == "failed")
    assert str(failed.source) == f"s3://{bucket}/in/bad.png"
    assert failed.error.startswith("is not an image of a handled format")
    assert objects(system, f"{bucket}/out/clean") == expected
    # A second run does what is missing, also where something else took it away.
    system.rm_file(f"{bucket}/out/clean/a.png")
    again = comdefend.purify_files(source, target, tiny)
    assert statuses(again) == {
        "a.png": "purified", "b.jpg": "skipped", "bad.png": "failed", "c.webp": "skipped",
    }  # fmt: skip
    assert objects(system, f"{bucket}/out/clean") == expected
    redone = comdefend.purify_files(source, target, tiny, overwrite=True)
    assert "skipped" not in statuses(redone).values()


@pytest.mark.filterwarnings("ignore:passed over")
def test_between_a_bucket_and_a_disk(s3, photos, expected, tmp_path, tiny):
    system, bucket = s3
    comdefend.purify_files(photos, f"s3://{bucket}/up", tiny)
    assert objects(system, f"{bucket}/up") == expected
    system.put_file(str(photos / "a.png"), f"{bucket}/a.png")
    (result,) = comdefend.purify_files(f"s3://{bucket}/a.png", tmp_path / "down.png", tiny)
    assert result.status == "purified"
    assert (tmp_path / "down.png").read_bytes() == expected["a.png"]
    (result,) = comdefend.purify_files(photos / "a.png", f"s3://{bucket}/x/one.webp", tiny)
    assert str(result.target) == f"s3://{bucket}/x/one.webp"
    assert system.exists(f"{bucket}/x/one.webp")
    (again,) = comdefend.purify_files(photos / "a.png", f"s3://{bucket}/x/one.webp", tiny)
    assert again.status == "skipped"


@pytest.mark.filterwarnings("ignore:passed over")
def test_names_that_lead_out_of_the_output_are_never_followed(s3, photos, tmp_path, tiny):
    system, bucket = s3
    data = (photos / "a.png").read_bytes()
    for key in ("../../up.png", "x/../../../up.png", "/abs.png", "x//y.png", "./dot.png", "ok.png"):
        system.pipe_file(f"{bucket}/in/{key}", data)
    system.pipe_file(f"{bucket}/in/folder/", b"")
    results = comdefend.purify_files(f"s3://{bucket}/in", tmp_path / "deep/er/out", tiny)
    assert statuses(results).pop("ok.png") == "purified"
    bad = [r for r in results if r.status == "failed"]
    assert len(bad) == 5
    assert {r.error for r in bad} == {"cannot be read (its name has parts that no folder can have)"}
    assert [p.name for p in (tmp_path / "deep").rglob("*") if p.is_file()] == ["ok.png"]
    assert not list(tmp_path.glob("*.png"))


def test_an_input_is_never_replaced_and_results_never_become_inputs(s3, photos, tiny):
    system, bucket = s3
    system.put_file(str(photos / "a.png"), f"{bucket}/in/a.png")
    for source, target, message in (
        ("in/a.png", "in/a.png", "would replace an input"),
        ("in", "in/", "is an input folder"),
        ("in/a.png", "in", "holds the input a.png"),
    ):
        with pytest.raises(InputError, match=message):
            comdefend.purify_files(f"s3://{bucket}/{source}", f"s3://{bucket}/{target}", tiny)
    # As on a disk, results in a folder inside of the input are left out.
    nested = [comdefend.purify_files(f"s3://{bucket}/in", f"s3://{bucket}/in/clean", tiny)
              for _ in range(2)]  # fmt: skip
    assert [len(results) for results in nested] == [1, 1]
    assert nested[1][0].status == "skipped"


@pytest.mark.parametrize(
    ("source", "target", "error", "message"),
    [
        ("s3://{bucket}/none", "out", DataMissingError, "/none: no such file or folder"),
        ("s3://no-such-bucket/in", "out", DataMissingError, "in: no such file or folder"),
        ("photos", "s3://no-such-bucket/out", OutputError, r"out: cannot be written \(The spec"),
        ("photos/a.png", "s3://no-such-bucket/out.png", OutputError, "cannot be written"),
        ("photos", "s3://{bucket}/x.png", InputError, "give a folder"),
        ("xyz://photos", "out", InputError, "xyz://photos: Protocol not known: xyz"),
        ("photos", "https://example.invalid/out/", InputError, "can only be read"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:passed over")
def test_bad_addresses(s3, photos, tmp_path, monkeypatch, tiny, source, target, error, message):
    _, bucket = s3
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        comdefend.purify_files(source.format(bucket=bucket), target.format(bucket=bucket), tiny)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_credentials_are_a_line(s3, photos, tmp_path, monkeypatch, tiny):
    _, bucket = s3
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for source, target in ((f"s3://{bucket}/in", tmp_path / "out"), (photos, f"s3://{bucket}/out")):
        with pytest.raises(RemoteError, match=r"cannot be reached .*Unable to locate credentials"):
            comdefend.purify_files(source, target, tiny)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:passed over")
def test_a_bucket_that_refuses_writes_costs_no_work(s3, photos, monkeypatch, tiny):
    from s3fs import S3FileSystem

    system, bucket = s3

    def refuse(self, *arguments, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(S3FileSystem, "_pipe_file", refuse)
    monkeypatch.setattr(S3FileSystem, "pipe_file", refuse)
    seen = []
    with pytest.raises(OutputError, match=r"cannot be written \(Access Denied\)"):
        comdefend.purify_files(
            photos, f"s3://{bucket}/out", tiny, progress=lambda *result: seen.append(result)
        )
    assert not seen
    assert objects(system, f"{bucket}/out") == {}


def test_the_command_line_takes_addresses_and_ends_with_its_exit_code(
    s3, photos, expected, tmp_path, tiny
):
    system, bucket = s3
    system.put(f"{photos}/", f"{bucket}/in", recursive=True)
    save_weights(tmp_path / "tiny.safetensors", tiny, {})

    def purify(source, target):
        command = [sys.executable, "-m", "comdefend", "purify", source, target]
        command += ["--weights", tmp_path / "tiny.safetensors"]
        return subprocess.run(command, capture_output=True, text=True)

    done = purify(f"s3://{bucket}/in", f"s3://{bucket}/out")
    assert done.returncode == 1
    assert done.stdout == "3 purified, 1 failed\n"
    assert f"failed: s3://{bucket}/in/bad.png: is not an image" in done.stderr
    assert objects(system, f"{bucket}/out") == expected
    refused = purify(f"s3://{bucket}/in", "s3://no-such-bucket/out")
    assert refused.returncode == 1
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith("error: s3://no-such-bucket/out: cannot be written (")


def test_a_server_that_dies_fails_files_and_leaves_nothing_half_written(
    monkeypatch, photos, tmp_path, tiny
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(RemoteError, match="Could not connect"):
        comdefend.purify_files("s3://bucket/in", tmp_path / "out", tiny)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:passed over")
def test_a_web_server_is_read(photos, expected, tmp_path, tiny):
    shutil.copy(photos / "a.png", photos / "a b.png")
    with server("-m", "http.server", "--bind", "127.0.0.1", "--directory", photos) as address:
        (result,) = comdefend.purify_files(f"{address}/a%20b.png?size=1", tmp_path / "one", tiny)
        assert (result.status, result.target.name) == ("purified", "a b.png")
        assert (tmp_path / "one/a b.png").read_bytes() == expected["a.png"]
        comdefend.purify_files(f"{address}/", tmp_path / "all", tiny)
        with pytest.raises(OutputError, match=r"blockcache::http://.*: its protocol cannot write"):
            comdefend.purify_files(photos / "a.png", f"blockcache::{address}/out.png", tiny)
        with pytest.raises(DataMissingError, match=r"none\.png: no such file"):
            comdefend.purify_files(f"{address}/none.png", tmp_path / "none", tiny)
    found = {p.relative_to(tmp_path / "all").as_posix(): p.read_bytes()
             for p in (tmp_path / "all").rglob("*") if p.is_file()}  # fmt: skip
    assert found == {**expected, "a b.png": expected["a.png"]}
    with pytest.raises(DataMissingError, match=r"a\.png: no such file"):
        comdefend.purify_files(f"{address}/a.png", tmp_path / "none", tiny)


@pytest.mark.filterwarnings("ignore:passed over")
def test_other_file_systems(photos, expected, tmp_path, tiny):
    memory = fsspec.filesystem("memory")
    root = uuid.uuid4().hex
    comdefend.purify_files(photos.as_uri(), f"memory://{root}/clean", tiny)
    assert objects(memory, f"/{root}/clean") == expected
    # A file of this machine is written as any other.
    assert place((tmp_path / "out").as_uri()) == tmp_path / "out"
    shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    results = comdefend.purify_files(
        f"zip://deep::{tmp_path}/photos.zip", tmp_path / "zipped", tiny
    )
    assert [str(r.source) for r in results] == [f"zip://deep/er/c.webp::{tmp_path}/photos.zip"]
    assert (tmp_path / "zipped/er/c.png").read_bytes() == expected["deep/er/c.png"]


class Disk(MemoryFileSystem):
    """A protocol of which a file can be seen while it is written."""

    protocol = "disk"
    store, pseudo_dirs = {}, [""]
    seen: ClassVar = []
    fails = False

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("disk:/"))

    def pipe_file(self, path, value, **options):
        super().pipe_file(path, value, **options)
        self.seen.append(path.rpartition("/")[2])

    def mv(self, source, target, **options):
        if self.fails:
            raise OSError("the disk is full")
        super().mv(source, target, **options)


@pytest.mark.filterwarnings("ignore:passed over")
def test_where_half_a_file_could_be_seen_it_is_renamed(photos, expected, tiny, monkeypatch):
    fsspec.register_implementation("disk", Disk, clobber=True)
    comdefend.purify_files(photos, "disk://clean", tiny)
    assert objects(Disk(), "/clean") == expected
    assert all(name.startswith(".comdefend-") for name in Disk.seen)
    monkeypatch.setattr(Disk, "fails", True)
    results = comdefend.purify_files(photos / "a.png", "disk://full", tiny)
    assert [r.error for r in results] == ["disk://full/a.png: cannot be written (the disk is full)"]
    assert objects(Disk(), "/full") == {}


def test_a_file_without_an_end_is_given_up(monkeypatch, photos, tmp_path, tiny):
    memory = fsspec.filesystem("memory")
    root = uuid.uuid4().hex
    for name in ("a.png", "b.jpg"):
        memory.pipe_file(f"/{root}/{name}", (photos / name).read_bytes())
    memory.pipe_file(f"/{root}/c.png", bytes(5000))
    monkeypatch.setattr("comdefend.common.remote._LARGEST", 4000)
    results = comdefend.purify_files(f"memory://{root}", tmp_path / "out", tiny)
    assert statuses(results) == {"a.png": "purified", "b.jpg": "purified", "c.png": "failed"}


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(%r))
from comdefend.common.places import place
from comdefend.errors import ComdefendError
try:
    place("s3://bucket/x")
except ComdefendError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("blocked", "message"),
    [
        (["fsspec"], "fsspec is not installed; run: pip install 'comdefend[remote]'"),
        (["s3fs"], "s3://bucket/x: this protocol needs a package that is not installed: Install"
                   " s3fs to access S3"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(blocked, message):
    out = subprocess.run(
        [sys.executable, "-c", WITHOUT % blocked], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == f"{ExtraMissingError.__name__} {message}"


def test_passwords_are_not_shown():
    shown = str(RemotePath(None, "/x", "sftp://me:secret@host/x"))
    assert shown == "sftp://me:***@host/x"
    assert json.dumps(shown).count("secret") == 0
