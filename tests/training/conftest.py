import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from comdefend.data.shipped import fashion_images


@pytest.fixture(scope="session")
def parquet(tmp_path_factory):
    """The shipped Fashion-MNIST images as a data set: 150 to train on, 50 to test on."""
    folder = tmp_path_factory.mktemp("data")
    pixels, labels = fashion_images()
    for split, part in (("train", slice(0, 150)), ("test", slice(150, 200))):
        cells = []
        for image in pixels[part, 0].numpy():
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="PNG")
            cells.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"image": cells, "label": labels[part].tolist()})
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="session")
def recipe_file(parquet):
    """A recipe of a tiny purifier that trains in seconds."""
    file = parquet / "tiny.yaml"
    file.write_text(
        f"""
kind: purifier
data: parquet:{parquet}
network: {{channels: 1, encoder_widths: [8, 8], decoder_widths: [8, 8], code_maps: 4}}
steps: 300
epoch_steps: 10
validation: 16
batch: 4
"""
    )
    return file


@pytest.fixture(scope="session")
def small_recipe(parquet):
    """A classifier small enough to train in a test."""
    file = parquet / "classifier.yaml"
    file.write_text(
        f"""
kind: classifier
data: parquet:{parquet}
network: {{channels: 1, widths: [8, 16, 16, 32], mean: [0.5], std: [0.25]}}
epochs: 12
batch: 16
validation: 22
"""
    )
    return file
