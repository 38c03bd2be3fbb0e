"""Purifiers as folders of the Hugging Face hub.

A folder is what ``huggingface_hub.PyTorchModelHubMixin`` writes: ``model.safetensors``,
``config.json`` (the fields of `PurifierConfig`) and a model card, ``README.md``. The weight file is
one of ours too, which `comdefend.load` takes. Nothing here uses the network: huggingface_hub's
``upload_folder`` sends a folder to the hub, and ``snapshot_download`` fetches one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from comdefend.api import Evaluation
from comdefend.common.atomic import atomic_write, make_folder
from comdefend.common.extras import require
from comdefend.common.schema import build, decode_json, read_text
from comdefend.errors import DataMissingError, InputError, WeightsError
from comdefend.evaluation.record import UNDEFENDED, Record, Row
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import save_weights
from comdefend.zoo.files import read_tensors

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

_PARTS = ("encoder", "decoder", "binarizer")

# Far more than any configuration has; a file from elsewhere may hold anything.
_LARGEST_CONFIG = 1 << 20


def save_pretrained(
    purifier: ComDefend,
    folder: str | Path,
    *,
    record: Mapping[str, Any] | None = None,
    evaluation: Evaluation | None = None,
    defense: str | None = None,
    license: str | None = None,
) -> None:
    """Write a purifier as a folder of the hub; files of the same names are replaced.

    Args:
        purifier: A `ComDefend` without parts of your own.
        folder: Where to; it is made.
        record: How it was trained, JSON types only, as `load_record` returns it.
        evaluation: Its figures stand in the card and in the card's metadata, each with threat
            model, attack, norm, eps, steps, data, number of images, classifier and seed.
        defense: What the evaluation calls the purifier; needed where it has several defences.
        license: For the card, as the hub names it, for example ``mit``.

    Raises:
        InputError: The evaluation does not tell which of its defences this is.
        OutputError: The folder cannot be written.
        ExtraMissingError: huggingface_hub is not installed.
    """
    card = _card(evaluation, defense, license)
    path = Path(folder)
    make_folder(path)
    save_weights(path / WEIGHTS, purifier, dict(record or {}))
    config = msgspec.json.format(msgspec.json.encode(purifier.config), indent=2)
    atomic_write(path / CONFIG, config + b"\n")
    atomic_write(path / CARD, card.encode())


def from_pretrained(folder: str | Path) -> ComDefend:
    """Read a purifier from a folder of the hub, in evaluation mode.

    Nothing is unpickled: of the folder's files only ``config.json`` and ``model.safetensors`` are
    opened, and no tensor is read before the bounds of the first and the shapes in the second agree.

    Args:
        folder: As `save_pretrained` writes it, or ``PyTorchModelHubMixin`` for a `ComDefend`.

    Raises:
        DataMissingError: One of the two files is not there.
        WeightsError: One of them is corrupt, or they do not fit each other.
    """
    path = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise DataMissingError(
                f"{path / name}: no such file; nothing is downloaded, huggingface_hub's "
                "snapshot_download fetches a folder"
            )
    return read_tensors(path / WEIGHTS, ComDefend, _config(path / CONFIG))


def _config(path: Path) -> PurifierConfig:
    if path.stat().st_size > _LARGEST_CONFIG:
        raise WeightsError(f"{path}: too large for a configuration")
    try:
        values = decode_json(dict[str, Any], read_text(str(path)), "config")
        # The mixin writes the other arguments of ComDefend beside those of its configuration.
        fields = {k: v for k, v in values.items() if not (k in _PARTS and v is None)}
        return build(PurifierConfig, fields, "config")
    except InputError as error:
        raise WeightsError(f"{path}: {error}") from error


def _card(evaluation: Evaluation | None, defense: str | None, license: str | None) -> str:
    """Return the text of the model card, its metadata first."""
    hub = require("huggingface_hub", "huggingface")
    record = None if evaluation is None else evaluation.record
    rows = [] if record is None else _rows(record, defense)
    name = defense or (rows[0].defense if rows else "comdefend")
    data = hub.ModelCardData(
        library_name="comdefend",
        license=license,
        tags=["adversarial-robustness", "image-purification", "model_hub_mixin"],
        pipeline_tag="image-to-image",
        model_name=name if record else None,
        eval_results=None if record is None else [_result(hub, record, row) for row in rows],
    )
    text = [f"# {name}", _ABOUT]
    if record is not None:
        text += ["## Evaluation", _table(record, rows)]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(text) + "\n"


_ABOUT = """A purifier of images for [comdefend](https://arxiv.org/abs/1811.12673): it compresses an
image to a binary code and rebuilds it, so that a classifier behind it sees less of an adversarial
perturbation.

```python
from comdefend.integrations.huggingface import from_pretrained

purifier = from_pretrained("FOLDER")  # images (N, C, H, W) in [0, 1] -> the same
```"""


def _rows(record: Record, defense: str | None) -> list[Row]:
    names = [name for name in record.defense_names if name != UNDEFENDED]
    if defense is None and len(names) != 1:
        raise InputError(f"defense: say which of {', '.join(names)} the purifier is")
    if defense is not None and defense not in names:
        raise InputError(f"defense: the evaluation has {', '.join(names)}, not '{defense}'")
    return record.rows(defense=defense or names[0])


def _title(row: Row) -> str:
    """Return what was measured, in words: ``adaptive pgd, Linf 8/255, 20 steps``."""
    if row.attack is None:
        return "clean"
    bound = "" if row.eps is None else f" {row.eps:g}/255"
    steps = "" if row.steps is None else f", {row.steps} steps"
    return f"{row.threat} {row.attack}, {row.norm}{bound}{steps}"


def _result(hub: Any, record: Record, row: Row) -> Any:
    conditions = {
        "threat": row.threat, "attack": row.attack, "norm": row.norm, "eps_255": row.eps,
        "steps": row.steps, "images": row.images, "classifier": record.classifier,
        "seed": record.seed,
    }  # fmt: skip
    return hub.EvalResult(
        task_type="image-classification",
        dataset_type=record.data.source,
        dataset_name=record.data.source,
        dataset_split=record.data.split,
        metric_type="accuracy",
        metric_name=f"accuracy, {_title(row)}",
        metric_value=round(row.accuracy, 4),
        metric_args={key: value for key, value in conditions.items() if value is not None},
    )


def _table(record: Record, rows: list[Row]) -> str:
    lines = ["| images | accuracy | 95 % interval | number |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        low, high = row.interval
        lines.append(
            f"| {_title(row)} | {row.accuracy:.1%} | {low:.1%}–{high:.1%} | {row.images} |"
        )
    where = f"Data: {record.data.source} ({record.data.split}), classifier: {record.classifier}"
    return "\n".join(lines) + f"\n\n{where}, seed {record.seed}."
