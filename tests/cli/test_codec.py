import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    Image.effect_noise((24, 16), 50).convert("RGB").save(tmp_path / "in/good.png")
    return tmp_path / "in"


def test_compress_tells_bits_per_pixel_before_and_after(cli, folder, tmp_path):
    (folder / "bad.jpg").write_bytes(b"nonsense")
    done = cli("compress", folder, tmp_path / "small")
    assert done.code == 1
    size = (tmp_path / "small/good.comd").stat().st_size
    assert done.stdout.strip() == (
        f"1 compressed, 1 failed: 2.000 bits of code per pixel, {8 * size / 384:.3f} in files "
        f"({size} bytes)"
    )
    assert done.stderr.startswith(f"failed: {folder / 'bad.jpg'}: is not an image")
    again = cli("compress", folder / "good.png", tmp_path / "small")
    assert again.code == 0
    assert again.stdout.strip() == "0 compressed, 1 already there (--overwrite redoes them)"


def test_decompress_rebuilds_and_notes_what_is_missing(cli, folder, tmp_path):
    cli("compress", folder, tmp_path / "small")
    whole = (tmp_path / "small/good.comd").read_bytes()
    (tmp_path / "small/good.comd").write_bytes(whole[:-1])
    done = cli("decompress", tmp_path / "small", tmp_path / "out")
    assert done.code == 0
    assert done.stdout.strip() == "1 decompressed"
    assert done.stderr.startswith("note: truncated: rebuilt from 1 of 2 bits per pixel: ")
    with Image.open(tmp_path / "out/good.png") as image:
        assert image.size == (24, 16)
    refused = cli("decompress", tmp_path / "small/good.comd", tmp_path / "x.png", "--bpp", "3")
    assert refused.code == 1
    assert "this image was compressed at 1, 2 bits per pixel, not 3" in refused.stderr


def test_info_tells_what_a_file_holds(cli, folder, tmp_path):
    cli("compress", folder, tmp_path / "small")
    done = cli("info", tmp_path / "small/good.comd")
    assert done.code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "image:    24x16, RGB"
    assert lines[1].startswith("weights:  photo, SHA-256 ")
    assert lines[-2].startswith("at 1 bits of code per pixel: ")
    for file, message in (
        (folder / "good.png", "is not a compressed image"),
        ("x", "no such file"),
    ):
        refused = cli("info", file)
        assert refused.code in (1, 2)
        assert len(refused.stderr.splitlines()) == 1
        assert message in refused.stderr


def test_addresses_are_no_paths(cli, folder, tmp_path):
    there = f"memory://{tmp_path.name}"
    assert cli("compress", folder / "good.png", f"{there}/x.comd").code == 0
    assert cli("info", f"{there}/x.comd").stdout.startswith("image:    24x16, RGB")
    assert cli("decompress", f"{there}/x.comd", tmp_path / "x.png").code == 0
    refused = cli("compress", folder, "https://example.invalid/out/")
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "can only be read" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.png"]
