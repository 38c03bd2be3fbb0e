import gzip
import io
import json
import pickle
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from comdefend.data.image_set import ImageSet
from comdefend.data.listing import Wanted
from comdefend.data.sources import load_image_set, load_training_images, name_test_split
from comdefend.errors import DataMissingError, ImageError, InputError


def encoded(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def write_parquet(path, images, labels, names=("image", "label")):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": data, "path": None} for data in images]
    pq.write_table(pa.table({names[0]: cells, names[1]: labels}), path)


def write_idx(folder, prefix, images, labels, pack=gzip.compress, suffix=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">iiii", 2051, *images.shape)
    for name, data in (
        ("images-idx3", header + images.tobytes()),
        ("labels-idx1", struct.pack(">ii", 2049, len(labels)) + bytes(labels)),
    ):
        (folder / f"{prefix}-{name}-ubyte{suffix}").write_bytes(pack(data))


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


def test_parquet_in_the_layout_of_the_hub(tmp_path, pictures):
    write_parquet(tmp_path / "train.parquet", [encoded(p) for p in pictures], [3, 1, 0, 1])
    for spec in (f"parquet:{tmp_path / 'train.parquet'}", f"parquet:{tmp_path}"):
        data = load_image_set(spec, "train")
        assert data.images.permute(0, 2, 3, 1).numpy().tolist() == pictures.tolist()
        assert data.labels.tolist() == [3, 1, 0, 1]
        assert data.class_count == 4


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("plain_text/test-00000-of-00001.parquet", "test"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("default/test/0000.parquet", "test"),
        ("plain_text/validation-00000-of-00001.parquet", "validation"),
        ("val.parquet", "val"),
    ],
)
def test_where_the_hub_keeps_a_split(tmp_path, pictures, name, split):
    write_parquet(tmp_path / name, [encoded(p) for p in pictures], [3, 1, 0, 1], ("img", "labels"))
    data = load_image_set(f"parquet:{tmp_path}", "test")
    assert data.labels.tolist() == [3, 1, 0, 1]
    assert name_test_split(f"parquet:{tmp_path}") == ("test" if split == "test" else "val")
    notes = (
        () if split == "test" else (f"{tmp_path}: has no test images; those of {name} are taken",)
    )
    assert data.notes == notes


def test_no_image_is_read_twice(tmp_path, pictures):
    for name in ("test.parquet", "data/test-00000-of-00001.parquet", "x/test-0.parquet"):
        write_parquet(tmp_path / name, [encoded(p) for p in pictures], [3, 1, 0, 1])
    assert len(load_image_set(f"parquet:{tmp_path}", "test")) == 4
    (tmp_path / "test.parquet").unlink()
    (tmp_path / "data" / "test-00000-of-00001.parquet").rename(tmp_path / "data" / "other")
    write_parquet(tmp_path / "y" / "test-0.parquet", [encoded(pictures[0])], [0])
    with pytest.raises(InputError, match="holds x, y; name the folder of one of them"):
        load_image_set(f"parquet:{tmp_path}", "test")


def test_names_of_classes_in_the_schema(tmp_path, pictures):
    features = {"label": {"names": ["ant", "bee", "cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"image": [{"bytes": encoded(p)} for p in pictures], "label": [3, 1, 0, 1]})
    written = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": written}), tmp_path / "a.parquet")
    data = load_image_set(f"parquet:{tmp_path / 'a.parquet'}", "test")
    assert data.classes == ("ant", "bee", "cat", "dog")
    features["label"]["names"] = ["ant", "bee"]
    written = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": written}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="label 3, but names of 2 classes"):
        load_image_set(f"parquet:{tmp_path / 'a.parquet'}", "test")


def test_only_what_is_drawn_is_read_from_parquet(tmp_path, pictures):
    cells = [{"bytes": encoded(p)} for p in pictures]
    cells[1] = {"bytes": b"nonsense"}
    table = pa.table({"image": cells, "label": [3, 1, 0, 2]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    seed = next(s for s in range(99) if 1 not in Wanted(count=3, seed=s).order(4))
    wanted = Wanted(count=3, seed=seed)
    data = load_image_set(f"parquet:{tmp_path / 'a.parquet'}", "test", wanted=wanted)
    order = wanted.order(4)
    assert data.images.permute(0, 2, 3, 1).numpy().tolist() == pictures[order].tolist()
    assert data.labels.tolist() == [[3, 1, 0, 2][position] for position in order]


def test_cifar10_by_name(tmp_path, pictures, monkeypatch):
    monkeypatch.setenv("COMDEFEND_DATA", str(tmp_path))
    write_parquet(tmp_path / "cifar10/test.parquet", [encoded(p) for p in pictures], [0, 1, 2, 9])
    data = load_image_set("cifar10", "test")
    assert data.classes[9] == "truck"
    assert load_image_set("cifar10", "test", channels=1).images.shape == (4, 1, 6, 5)


@pytest.mark.parametrize(
    ("folder", "pack", "suffix"),
    [("fashion-mnist", gzip.compress, ".gz"), ("FashionMNIST/raw", bytes, "")],
)
def test_fashion_mnist_from_idx_files(tmp_path, pictures, monkeypatch, folder, pack, suffix):
    monkeypatch.setenv("COMDEFEND_DATA", str(tmp_path))
    write_idx(tmp_path / folder, "t10k", pictures[..., 0], [9, 0, 1, 2], pack, suffix)
    data = load_image_set("fashion-mnist", "test")
    assert data.images[:, 0].tolist() == pictures[..., 0].tolist()
    assert data.labels.tolist() == [9, 0, 1, 2]
    assert load_image_set("fashion-mnist", "test", channels=3).images.shape[1] == 3


def test_folder_of_classes(tmp_path, pictures):
    for index, name in enumerate(("cat/0", "cat/1", "dog/0", "dog/1")):
        path = tmp_path / "test" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[index]).save(path)
    data = load_image_set(f"folder:{tmp_path}", "test")
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert len(load_training_images(f"folder:{tmp_path / 'test'}", 3)) == 4


def test_named_data_that_is_missing_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("COMDEFEND_DATA", raising=False)
    with pytest.raises(DataMissingError, match=r"set COMDEFEND_DATA.*datasets\.CIFAR10\('DATA'"):
        load_image_set("cifar10", "train")
    monkeypatch.setenv("COMDEFEND_DATA", str(tmp_path))
    with pytest.raises(DataMissingError, match=r"is not in .*FashionMNIST\('DATA', download=True"):
        load_image_set("fashion-mnist", "train")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("imagenet", InputError, "unknown data set 'imagenet'; known: cifar10"),
        ("zip:x", InputError, "unknown data set 'zip:x'"),
        ("folder:", InputError, "unknown data set"),
        ("parquet:nowhere", DataMissingError, "no such parquet file"),
        ("folder:nowhere", DataMissingError, "no such folder"),
    ],
)
def test_bad_names(spec, error, message):
    with pytest.raises(error, match=message):
        load_image_set(spec, "train")


def test_bad_contents(tmp_path, pictures):
    file = tmp_path / "train.parquet"
    file.write_bytes(b"PAR1 nonsense")
    with pytest.raises(ImageError, match="not readable as parquet"):
        load_image_set(f"parquet:{file}", "train")
    write_parquet(file, [encoded(pictures[0])], [0], names=("picture", "label"))
    with pytest.raises(InputError, match="needs columns 'image' and 'label'"):
        load_image_set(f"parquet:{file}", "train")
    write_parquet(file, [encoded(pictures[0]), b"nonsense"], [0, 1])
    with pytest.raises(ImageError, match=r"1 of 2 images cannot be used: .*row 1: is not an image"):
        load_image_set(f"parquet:{file}", "train")
    write_parquet(file, [encoded(pictures[0]), encoded(pictures[1, :4])], [0, 1])
    with pytest.raises(InputError, match="must have one size"):
        load_image_set(f"parquet:{file}", "train")
    write_parquet(file, [encoded(pictures[0])], ["cat"])
    with pytest.raises(InputError, match=r"train\.parquet: labels must be integers"):
        load_image_set(f"parquet:{file}", "train")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("labels-idx1", lambda data: data[:20]),
        ("labels-idx1", lambda data: gzip.compress(gzip.decompress(data)[:-1])),
        ("labels-idx1", lambda data: gzip.compress(b"")),
        ("images-idx3", lambda data: b"nonsense"),
        ("images-idx3", lambda data: gzip.compress(b"\0\0\r" + gzip.decompress(data)[3:])),
    ],
)
def test_damaged_idx_files(tmp_path, pictures, monkeypatch, name, change):
    monkeypatch.setenv("COMDEFEND_DATA", str(tmp_path))
    write_idx(tmp_path / "mnist", "train", pictures[..., 0], [1, 2, 3, 4])
    file = tmp_path / "mnist" / f"train-{name}-ubyte.gz"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ImageError, match=f"train-{name}-ubyte.gz: not readable as IDX"):
        load_image_set("mnist", "train")


def test_only_separate_images_count_as_a_test_split(tmp_path, pictures):
    assert name_test_split("cifar10") == "test"
    file = tmp_path / "train.parquet"
    write_parquet(file, [encoded(p) for p in pictures], [0, 1, 2, 3])
    assert name_test_split(f"parquet:{file}") is None
    assert name_test_split(f"parquet:{tmp_path}") is None
    write_parquet(tmp_path / "test.parquet", [encoded(pictures[0])], [0])
    assert name_test_split(f"parquet:{tmp_path}") == "test"
    assert name_test_split(f"folder:{tmp_path}") is None
    (tmp_path / "test" / "cat").mkdir(parents=True)
    assert name_test_split(f"folder:{tmp_path}") == "test"


def test_torchvision_cifar_files_that_are_not_the_published_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("COMDEFEND_DATA", str(tmp_path))
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps({"data": 1}))
    with pytest.raises(ImageError, match="not the files of CIFAR10"):
        load_image_set("cifar10", "train")


def test_image_set():
    images = torch.arange(4 * 3, dtype=torch.uint8).view(4, 3, 1, 1)
    data = ImageSet(images, torch.tensor([0, 1, 0, 1]))
    assert data.sample(2, seed=1).fingerprint() == data.sample(2, seed=1).fingerprint()
    assert data.fingerprint() != ImageSet(images, torch.tensor([0, 1, 1, 1])).fingerprint()
    with pytest.raises(InputError, match="cannot draw 5 of 4"):
        data.sample(5)
    with pytest.raises(InputError, match="4 images but 3 labels"):
        ImageSet(images, torch.tensor([0, 1, 0]))
    with pytest.raises(InputError, match="uint8"):
        ImageSet(images.float(), torch.tensor([0, 1, 0, 1]))


@pytest.mark.slow
def test_real_data(data_folder):
    cifar = load_image_set("cifar10", "test")
    assert cifar.images.shape == (10_000, 3, 32, 32)
    assert cifar.labels.bincount().tolist() == [1000] * 10
    fashion = load_image_set("fashion-mnist", "train")
    assert fashion.images.shape == (60_000, 1, 28, 28)
    assert fashion.labels.bincount().tolist() == [6000] * 10
