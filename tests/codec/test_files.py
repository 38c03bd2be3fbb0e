import shutil
import warnings

import fsspec
import numpy as np
import pytest
from PIL import Image

import comdefend
from comdefend.codec import TruncatedWarning, compress_files, decompress_files, info
from comdefend.codec.files import read_info
from comdefend.errors import DataMissingError, ImageError, InputError, OutputError
from comdefend.purify.files import LossyOutputWarning, PassedOverWarning


@pytest.fixture
def photos(tmp_path, small):
    folder = tmp_path / "photos"
    for name in ("a.png", "b.jpg", "deep/er/c.webp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        small.save(folder / name)
    return folder


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_folders_go_there_and_back(photos, tmp_path, small):
    results = compress_files(photos, tmp_path / "small")
    assert [r.status for r in results] == ["done"] * 3
    assert tree(tmp_path / "small") == ["a.comd", "b.comd", "deep/er/c.comd"]
    assert all(r.size == (tmp_path / "small" / r.target).stat().st_size for r in results)
    # 61x43 pixels in blocks of 8x8.
    assert {(r.pixels, r.code_bits) for r in results} == {(61 * 43, 8 * 6 * 128)}
    back = decompress_files(tmp_path / "small", tmp_path / "back")
    assert [r.status for r in back] == ["done"] * 3
    assert tree(tmp_path / "back") == ["a.png", "b.png", "deep/er/c.png"]
    with Image.open(tmp_path / "back/a.png") as image:
        expected = np.asarray(comdefend.decompress(comdefend.compress(small))).astype(int)
        assert np.abs(np.asarray(image) - expected).max() <= 1


def test_a_single_file_has_the_name_that_is_given(photos, tmp_path):
    compress_files(photos / "a.png", tmp_path / "x.comd", bpp=1)
    assert info((tmp_path / "x.comd").read_bytes()).header.bpps == (1,)
    decompress_files(tmp_path / "x.comd", tmp_path / "x.webp")
    with Image.open(tmp_path / "x.webp") as image:
        assert image.size == (61, 43)
    with pytest.warns(LossyOutputWarning):
        decompress_files(tmp_path / "x.comd", tmp_path / "lossy", format="jpeg")


def test_finished_outputs_are_skipped_unless_overwritten(photos, tmp_path):
    seen = []
    for command, folder, target in (
        (compress_files, photos, tmp_path / "small"),
        (decompress_files, tmp_path / "small", tmp_path / "back"),
    ):
        command(folder, target)
        again = command(folder, target, progress=lambda *result: seen.append(result))
        assert {r.status for r in again} == {"skipped"}
        assert {r.status for r in command(folder, target, overwrite=True)} == {"done"}
    assert [(result.status, total) for result, total in seen] == [("skipped", 3)] * 6


def test_bad_files_do_not_stop_the_others(photos, tmp_path):
    (photos / "aa.png").write_bytes(b"nonsense")
    failed = [r for r in compress_files(photos, tmp_path / "small") if r.status == "failed"]
    assert [(r.source.name, r.error[:15]) for r in failed] == [("aa.png", "is not an image")]
    small = tmp_path / "small"
    whole = (small / "b.comd").read_bytes()
    (small / "b.comd").write_bytes(whole[:-1])
    (small / "damaged.comd").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (small / "empty.comd").touch()
    (small / "other.txt").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncatedWarning)
        with pytest.warns(PassedOverWarning, match=r"1 \.txt"):
            results = decompress_files(small, tmp_path / "back")
    outcomes = {r.source.name: (r.status, r.error or r.notes) for r in results}
    assert outcomes == {
        "a.comd": ("done", ()),
        "b.comd": ("done", ("truncated: rebuilt from 1 of 2 bits per pixel",)),
        "c.comd": ("done", ()),
        "damaged.comd": ("failed", "is damaged: a part does not fit its checksum"),
        "empty.comd": ("failed", "is not a compressed image of comdefend"),
    }
    assert tree(tmp_path / "back") == ["a.png", "b.png", "deep/er/c.png"]


def test_large_images_fail(photos, tmp_path):
    results = compress_files(photos / "a.png", tmp_path / "small", max_megapixels=0.002)
    assert "more than 0.002 megapixels" in results[0].error
    compress_files(photos / "a.png", tmp_path / "small")
    results = decompress_files(tmp_path / "small", tmp_path / "back", max_megapixels=0.002)
    assert "decompression bomb" in results[0].error


def test_what_cannot_be_done_is_said_before_anything_is(photos, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.comd"):
        compress_files(photos / "a.png", tmp_path / "x.png")
    with pytest.raises(InputError, match="unknown weights 'none'"):
        compress_files(photos, tmp_path / "small", "none")
    with pytest.raises(InputError, match=r"holds no images \(\.comd\)"):
        decompress_files(photos, tmp_path / "back")
    compress_files(photos, tmp_path / "small")
    with pytest.raises(InputError, match="would be the next run's inputs"):
        decompress_files(tmp_path / "small", tmp_path / "small")
    with pytest.raises(DataMissingError, match="no such weight file"):
        decompress_files(tmp_path / "small", tmp_path / "back", tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="unknown format 'comd'"):
        decompress_files(tmp_path / "small", tmp_path / "back", format="comd")
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="is a file, not a folder"):
        compress_files(photos, tmp_path / "taken")
    assert not (tmp_path / "back").exists()


def test_a_rate_that_a_file_lacks_fails_that_file(photos, tmp_path):
    compress_files(photos / "a.png", tmp_path / "small/low.comd", bpp=1)
    compress_files(photos / "a.png", tmp_path / "small/high.comd")
    results = decompress_files(tmp_path / "small", tmp_path / "back", bpp=2)
    assert {r.source.name: r.status for r in results} == {"low.comd": "failed", "high.comd": "done"}


def test_info_names_the_file(tmp_path, photos):
    with pytest.raises(DataMissingError, match=r"none\.comd: no such file"):
        read_info(tmp_path / "none.comd")
    shutil.copy(photos / "a.png", tmp_path / "a.comd")
    with pytest.raises(ImageError, match=r"a\.comd: is not a compressed image"):
        read_info(tmp_path / "a.comd")


def test_addresses_are_read_and_written_as_paths_are(photos, tmp_path, monkeypatch):
    (photos / "bad.png").write_bytes(b"nonsense")
    there = f"memory://{tmp_path.name}"
    # For paths auto would look at the pixels first, and may take another engine.
    done = compress_files(photos, f"{there}/small", engine="torch")
    assert [r.status for r in done] == ["done", "done", "failed", "done"]
    back = decompress_files(f"{there}/small", f"{there}/back", engine="torch")
    assert {r.status for r in back} == {"done"}
    compress_files(photos, tmp_path / "small", engine="torch")
    decompress_files(tmp_path / "small", tmp_path / "back", engine="torch")
    memory = fsspec.filesystem("memory")
    for folder in ("small", "back"):
        root = f"/{tmp_path.name}/{folder}"
        found = {path[len(root) + 1 :]: memory.cat_file(path) for path in memory.find(root)}
        assert sorted(found) == tree(tmp_path / folder)
        for name, data in found.items():
            assert data == (tmp_path / folder / name).read_bytes()
    assert {r.status for r in decompress_files(f"{there}/small", f"{there}/back")} == {"skipped"}
    assert read_info(f"{there}/small/a.comd") == read_info(tmp_path / "small/a.comd")
    with pytest.raises(DataMissingError, match=r"none\.comd: no such file"):
        read_info(f"{there}/small/none.comd")
    with pytest.raises(InputError, match="Protocol not known"):
        read_info("xyz://a.comd")

    def refuse(self, path, value, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(memory), "pipe_file", refuse)
    with pytest.raises(OutputError, match=r"full: cannot be written \(Access Denied\)"):
        compress_files(photos, f"{there}/full")
    assert memory.find(f"/{tmp_path.name}/full") == []
