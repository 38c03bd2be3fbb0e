import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, features

import comdefend
from comdefend.data.image_files import readable_suffixes
from comdefend.errors import DataMissingError, InputError, OutputError
from comdefend.nn.metrics import pooled_psnr
from comdefend.nn.purifier import ComDefend
from comdefend.purify.files import LossyOutputWarning, PassedOverWarning
from comdefend.zoo import load


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.png", "b.jpg", "deep/er/c.webp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((12, 10), 80).convert("RGB").save(folder / name)
    return folder


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_folders_keep_their_structure(photos, tmp_path, tiny):
    results = comdefend.purify_files([photos], tmp_path / "clean", tiny)
    assert [r.status for r in results] == ["purified"] * 3
    assert tree(tmp_path / "clean") == ["a.png", "b.png", "deep/er/c.png"]
    with Image.open(tmp_path / "clean/a.png") as image:
        assert image.size == (12, 10)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_large_photographs_are_shrunk_before_they_are_purified(mode, tmp_path, tiny):
    photo = Image.effect_noise((90, 61), 80).convert(mode)
    photo.save(tmp_path / "large.png")
    (result,) = comdefend.purify_files(
        tmp_path / "large.png", tmp_path / "out.png", tiny, resize=20
    )
    assert result.status == "purified"
    with Image.open(tmp_path / "out.png") as found:
        assert found.size == (29, 20)  # as torchvision's Resize rounds
        photo.resize((29, 20), Image.Resampling.BILINEAR).save(tmp_path / "small.png")
        comdefend.purify_files(tmp_path / "small.png", tmp_path / "expected.png", tiny)
        with Image.open(tmp_path / "expected.png") as expected:
            assert found.mode == expected.mode == mode
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_small_photographs_are_never_enlarged(photos, tmp_path, tiny):
    comdefend.purify_files(photos / "a.png", tmp_path / "same.png", tiny, resize=11)
    with Image.open(tmp_path / "same.png") as image:
        assert image.size == (12, 10)
    with pytest.raises(InputError, match="resize must not be negative: -1"):
        comdefend.purify_files(photos / "a.png", tmp_path / "none.png", tiny, resize=-1)


def test_finished_outputs_are_skipped_unless_overwritten(photos, tmp_path, tiny):
    comdefend.purify_files([photos], tmp_path / "clean", tiny)
    before = (tmp_path / "clean/a.png").stat().st_mtime_ns
    again = comdefend.purify_files([photos], tmp_path / "clean", tiny)
    assert {r.status for r in again} == {"skipped"}
    assert (tmp_path / "clean/a.png").stat().st_mtime_ns == before
    redone = comdefend.purify_files([photos], tmp_path / "clean", tiny, overwrite=True)
    assert {r.status for r in redone} == {"purified"}


def test_bad_files_do_not_stop_the_others(photos, tmp_path, tiny):
    (photos / "aa.png").write_bytes(b"nonsense")
    (photos / "zero.png").touch()
    results = comdefend.purify_files([photos], tmp_path / "clean", tiny)
    failed = {r.source.name: r.error for r in results if r.status == "failed"}
    assert set(failed) == {"aa.png", "zero.png"}
    assert failed["zero.png"] == "is empty"
    assert failed["aa.png"].startswith("is not an image")
    assert tree(tmp_path / "clean") == ["a.png", "b.png", "deep/er/c.png"]


def test_names_that_would_collide_keep_their_suffix(photos, tmp_path, tiny):
    Image.new("RGB", (4, 4)).save(photos / "a.jpg")
    comdefend.purify_files([photos], tmp_path / "clean", tiny)
    assert tree(tmp_path / "clean")[:2] == ["a.jpg.png", "a.png.png"]


def test_two_folders_with_the_same_names_are_refused(photos, tmp_path, tiny):
    twin = shutil.copytree(photos, tmp_path / "twin")
    with pytest.raises(InputError, match="would both become"):
        comdefend.purify_files([photos, twin], tmp_path / "clean", tiny)
    assert not (tmp_path / "clean").exists()


def test_a_file_named_twice_is_purified_once(photos, tmp_path, tiny):
    inputs = [photos / "a.png", photos, photos / "deep" / ".." / "a.png"]
    assert len(comdefend.purify_files(inputs, tmp_path / "clean", tiny)) == 3
    assert tree(tmp_path / "clean") == ["a.png", "b.png", "deep/er/c.png"]


def test_links_in_a_circle_are_reported(photos, tmp_path, tiny):
    (photos / "loop.png").symlink_to(photos / "loop.png")
    results = comdefend.purify_files([photos], tmp_path / "clean", tiny)
    assert [r.source.name for r in results if r.status == "failed"] == ["loop.png"]


def test_a_single_input_may_be_given_as_it_is(photos, tmp_path, tiny):
    assert len(comdefend.purify_files(str(photos), tmp_path / "clean", tiny)) == 3


def test_one_file_to_one_file(photos, tmp_path, tiny):
    comdefend.purify_files([photos / "b.jpg"], tmp_path / "new" / "out.webp", tiny)
    with Image.open(tmp_path / "new" / "out.webp") as image:
        assert image.format == "WEBP"


def test_lossy_output_warns_once(photos, tmp_path, tiny):
    with pytest.warns(LossyOutputWarning) as caught:
        comdefend.purify_files([photos], tmp_path / "clean", tiny, format="jpeg")
    assert len(caught) == 1
    assert tree(tmp_path / "clean") == ["a.jpg", "b.jpg", "deep/er/c.jpg"]


def test_inputs_are_never_replaced(photos, tiny):
    with pytest.raises(InputError, match="would replace an input"):
        comdefend.purify_files(photos / "a.png", photos / "a.png", tiny)


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["photos"], "photos", "is an input folder"),
        (["photos"], "linked", "is an input folder"),
        (["linked"], "photos/deep/..", "is an input folder"),
        (["photos/b.jpg"], "photos", "holds the input b.jpg"),
        (["photos", "photos/deep"], "photos/deep", "is an input folder"),
        # The result of photos/photos/x.png would be photos/x.png.
        (["photos/deep"], "photos", "lies in the input folder"),
    ],
)
def test_results_never_become_inputs(photos, tmp_path, monkeypatch, tiny, inputs, output, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to(photos, target_is_directory=True)
    (photos / "deep/deep").mkdir()
    Image.new("RGB", (4, 4)).save(photos / "deep/deep/d.png")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=message):
        comdefend.purify_files(inputs, output, tiny)
    assert tree(tmp_path) == before


def test_names_linked_to_one_file_are_all_purified(photos, tmp_path, tiny):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (photos / "a.png").rename(blobs / "0123")
    for name in ("a.png", "deep/a2.png", "z.png"):
        (photos / name).symlink_to(blobs / "0123")
    results = comdefend.purify_files([photos], tmp_path / "clean", tiny)
    assert [r.status for r in results] == ["purified"] * 5
    assert tree(tmp_path / "clean") == ["a.png", "b.png", "deep/a2.png", "deep/er/c.png", "z.png"]


def test_what_is_passed_over_is_counted_and_named(photos, tmp_path, tiny):
    for name in ("d.psd", "deep/e.PSD", "f.txt", "g", ".hidden.png", ".git/h.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).touch()
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    with pytest.warns(PassedOverWarning) as caught:
        results = comdefend.purify_files([photos], tmp_path / "clean", tiny)
    assert [r.status for r in results] == ["purified"] * 3
    (message,) = (str(w.message) for w in caught)
    for words in (f"2 .psd ({photos / 'd.psd'}, ...)", "1 .txt", "1 without a suffix"):
        assert words in message
    assert f"1 links to folders ({photos / 'loop'})" in message
    assert "hidden" not in message


def test_the_extra_that_reads_more_formats_is_named(photos, tmp_path, tiny):
    if ".heic" in readable_suffixes():
        pytest.skip("HEIC is read here")
    (photos / "d.HEIC").touch()
    with pytest.warns(PassedOverWarning, match=r"1 \.heic .*pip install 'comdefend\[formats\]'"):
        comdefend.purify_files([photos], tmp_path / "clean", tiny)


def test_images_by_all_their_suffixes(tmp_path, tiny):
    image = Image.effect_noise((12, 10), 80).convert("RGB")
    (tmp_path / "in").mkdir()
    names = ["a.jfif", "b.jpe", "c.GIF"] + ["d.avif"] * features.check("avif")
    for name, format in zip(names, ["JPEG", "JPEG", "GIF", "AVIF"], strict=False):
        image.save(tmp_path / "in" / name, format)
    results = comdefend.purify_files(tmp_path / "in", tmp_path / "out", tiny)
    assert [r.status for r in results] == ["purified"] * len(names)


def test_names_that_differ_only_in_case(photos, tmp_path, tiny):
    Image.new("RGB", (4, 4)).save(photos / "A.png")
    if (tmp_path / "PHOTOS").exists():
        pytest.skip("this disk ignores case itself")
    assert len(comdefend.purify_files([photos], tmp_path / "clean", tiny)) == 4
    # A folder that is also there by its name in the other case, as on a disk that ignores it.
    (tmp_path / "Out").mkdir()
    (tmp_path / "oUT").symlink_to("Out", target_is_directory=True)
    with pytest.raises(InputError, match="does not tell upper from lower case"):
        comdefend.purify_files([photos], tmp_path / "Out", tiny)
    assert tree(tmp_path / "Out") == []


def test_the_limit_for_huge_images_is_named_and_can_be_moved(photos, tmp_path, tiny):
    Image.new("RGB", (40, 40)).save(photos / "huge.png")
    limit = Image.MAX_IMAGE_PIXELS
    results = comdefend.purify_files([photos], tmp_path / "clean", tiny, max_megapixels=0.001)
    assert {r.source.name: r.error for r in results if r.status == "failed"} == {
        "huge.png": "has more than 0.001 megapixels, and may be a decompression bomb; if it is not,"
        " raise the limit (--max-megapixels)"
    }
    results = comdefend.purify_files([photos], tmp_path / "clean", tiny, max_megapixels=0.0016)
    assert [r.status for r in results].count("purified") == 1
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(InputError, match="max_megapixels must be above 0"):
        comdefend.purify_files([photos], tmp_path / "clean", tiny, max_megapixels=0)


@pytest.mark.parametrize("name", ["tif", "TIFF", ".tif"])
def test_a_format_may_be_named_by_a_suffix(photos, tmp_path, tiny, name):
    comdefend.purify_files(photos / "a.png", tmp_path / "clean", tiny, format=name)
    assert tree(tmp_path / "clean") == ["a.tif"]


def test_what_of_the_metadata_stays_behind_is_noted(photos, tmp_path, tiny):
    Image.new("RGB", (4, 4)).save(photos / "c.jpg", comment=b"words")
    results = comdefend.purify_files(photos / "c.jpg", tmp_path / "c.webp", tiny)
    assert "comment left behind: webp does not hold it" in results[0].notes


def test_an_output_folder_inside_the_input_is_not_purified_again(photos, tiny):
    comdefend.purify_files([photos], photos / "clean", tiny)
    results = comdefend.purify_files([photos], photos / "clean", tiny)
    assert len(results) == 3


def test_links_do_not_lead_out_of_the_output(photos, tmp_path, tiny):
    (tmp_path / "clean").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "clean" / "deep").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(OutputError, match="a link leads out of"):
        comdefend.purify_files([photos], tmp_path / "clean", tiny)
    assert tree(tmp_path / "outside") == []


@pytest.mark.parametrize(
    ("inputs", "output", "options", "error", "message"),
    [
        ([], "clean", {}, InputError, "no input"),
        (["nowhere"], "clean", {}, DataMissingError, "nowhere: no such file or folder"),
        (["empty"], "clean", {}, InputError, "holds no images"),
        (["photos"], "clean", {"format": "gif"}, InputError, "unknown format 'gif'; known: png"),
        (["photos/a.png"], "x.jpg", {"format": "png"}, InputError, "does not fit format"),
        (["photos/a.png"], "x.heic", {}, InputError, "a file that ends in .png"),
        (["photos/a.png"], "x.gif", {}, InputError, "a file that ends in .png"),
        (["photos"], "x.png", {}, InputError, "give a folder"),
        (["photos"], "file", {}, OutputError, "is a file, not a folder"),
    ],
)
def test_bad_use(photos, tmp_path, monkeypatch, tiny, inputs, output, options, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error, match=message):
        comdefend.purify_files(inputs, output, tiny, **options)


def test_a_purifier_in_training_mode_is_refused(photos, tmp_path):
    with pytest.raises(InputError, match="training mode"):
        comdefend.purify_files([photos], tmp_path / "clean", ComDefend())


def test_gray_images_stay_gray_and_colour_is_refused_by_gray_weights(tmp_path, tiny, gray):
    Image.effect_noise((12, 10), 60).save(tmp_path / "gray.png")
    Image.new("RGB", (12, 10)).save(tmp_path / "colour.png")
    comdefend.purify_files([tmp_path / "gray.png"], tmp_path / "rgb-weights.png", tiny)
    with Image.open(tmp_path / "rgb-weights.png") as image:
        assert image.mode == "L"
    inputs = [tmp_path / "gray.png", tmp_path / "colour.png"]
    results = comdefend.purify_files(inputs, tmp_path / "clean", gray)
    assert [r.status for r in results] == ["purified", "failed"]
    assert "colour" in results[1].error


def test_the_recommended_weights_are_faithful_to_a_photograph(tmp_path, chelsea):
    chelsea.crop((150, 50, 246, 130)).save(tmp_path / "cat.png")
    comdefend.purify_files(tmp_path / "cat.png", tmp_path / "out.png")
    with Image.open(tmp_path / "cat.png") as a, Image.open(tmp_path / "out.png") as b:
        original, purified = (torch.from_numpy(np.array(x)) / 255 for x in (a, b))
    assert 25 < pooled_psnr(purified, original) < 45


def test_a_rate_replaces_the_one_in_the_name(tmp_path, chelsea):
    chelsea.crop((0, 0, 20, 16)).save(tmp_path / "cat.png")

    def purified(name, **options):
        comdefend.purify_files(tmp_path / "cat.png", tmp_path / "out.png", name, **options)
        data = (tmp_path / "out.png").read_bytes()
        (tmp_path / "out.png").unlink()
        return data

    low, middle, whole = (purified("rgb-variable", bpp=bpp) for bpp in (2, 6, 12))
    assert len({low, middle, whole}) == 3
    assert purified("rgb-variable") == purified("rgb-variable@2", bpp=12) == whole
    assert purified("rgb-variable@2") == low
    assert purified("rgb-variable@2", bpp=6) == purified(load("rgb-variable"), bpp=6) == middle
    with pytest.raises(InputError, match=r"work at 0\.5, 1, 2, 3, 6, 12 bits per pixel, not at 4"):
        purified("rgb-variable@2", bpp=4)


def test_purifying_by_an_engine_imports_no_torch_and_little_else(tmp_path, chelsea):
    chelsea.crop((0, 0, 64, 48)).save(tmp_path / "cat.png")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from comdefend.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "status = Path('/proc/self/status')\n"
        "told = status.read_text() if status.is_file() else 'VmHWM: 0'\n"
        "print(told.partition('VmHWM:')[2].split()[0])\n"
        "print(*sys.modules)"
    )
    for engine in ("openvino", "onnxruntime"):
        command = [sys.executable, "-c", script, "purify", tmp_path / "cat.png", tmp_path / "out",
                   "--overwrite", "--engine", engine]  # fmt: skip
        out = subprocess.run(command, capture_output=True, text=True, check=True)
        done, resident, modules = out.stdout.splitlines()
        assert done == "1 purified"
        # The peak in units of 1024 bytes, which only Linux tells; torch alone takes more.
        assert int(resident) <= 350_000
        imported = set(modules.split())
        assert not imported & {"torch", "torchvision", "lightning", "pandas", "scipy", "matplotlib"}


def test_purifying_imports_neither_attacks_nor_data_sets_nor_training():
    script = (
        "import sys\nfrom comdefend import purify_files\n"
        "print(*(name for name in sys.modules if name.startswith('comdefend.')))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(out.stdout.split())
    rooms = {name.split(".")[1] for name in imported}
    expected = {"_version", "common", "data", "engines", "errors", "nn", "purify", "zoo"}
    assert rooms <= expected
    assert not imported & {
        "comdefend.data.sources",
        "comdefend.nn.classifier",
        "comdefend.engines.export",
    }
