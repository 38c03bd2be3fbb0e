"""Data sets of the library ``datasets`` (Hugging Face), as objects."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from comdefend.data.listing import Encoded, Listing
from comdefend.errors import InputError, InputTypeError


def is_dataset(value: object) -> bool:
    """Return whether a value comes from the library ``datasets``."""
    return type(value).__module__.partition(".")[0] == "datasets"


def list_dataset(dataset: Any) -> Listing:
    """List the images of a ``datasets.Dataset``; they stay encoded until they are wanted.

    Args:
        dataset: One split, with one column of the type ``Image``, and one of ``ClassLabel``, or
            integers that are called ``label`` or ``labels``.

    Raises:
        InputError: It has several splits or no such columns, or a label is missing.
        InputTypeError: It is read as a stream.
    """
    features = _features(dataset)
    image = _column(features, lambda name, kind: kind == "Image", "of images (datasets.Image)")
    label = _column(features, _is_label, "of labels (datasets.ClassLabel, or integers in 'label')")
    # Without a format, and not decoded: one boundary decodes all images, and only those wanted.
    plain = dataset.with_format(None).select_columns([image, label])
    plain = plain.cast_column(image, features[image].__class__(decode=False))
    labels = plain[label][:]
    classes = tuple(getattr(features[label], "names", None) or ())
    # ClassLabel writes -1 where the label is not known, as in the test splits of contests.
    if not all(isinstance(value, int) and value >= 0 for value in labels):
        raise InputError(f"data: column '{label}' has images without a label, or labels below 0")
    where = _name(dataset)

    def fetch(positions: Iterable[int]) -> Iterator[tuple[int, str, Encoded]]:
        for position in positions:
            yield position, f"{where}, row {position}", _encoded(plain[position][image])

    return Listing(where, labels, fetch, classes)


def _features(dataset: Any) -> dict[str, Any]:
    kind = type(dataset).__name__
    if kind in ("DatasetDict", "IterableDatasetDict"):
        raise InputError(f"data: has splits {', '.join(dataset)}; give one, as in data['test']")
    if kind != "Dataset":
        raise InputTypeError(
            f"data: must be a datasets.Dataset, which is not read as a stream: {kind}"
        )
    return dict(dataset.features)


def _is_label(name: str, kind: str) -> bool:
    return kind == "ClassLabel" or (name in ("label", "labels") and kind == "Value")


def _column(features: dict[str, Any], fits: Any, what: str) -> str:
    """Return the only column that fits."""
    found = [name for name, feature in features.items() if fits(name, type(feature).__name__)]
    if len(found) != 1:
        there = ", ".join(features)
        raise InputError(f"data: must have one column {what}, has {len(found)} among {there}")
    return found[0]


def _name(dataset: Any) -> str:
    name = getattr(dataset.info, "dataset_name", None) or "a data set of Hugging Face"
    return name if dataset.split is None else f"{name} ({dataset.split})"


def _encoded(cell: dict[str, Any] | None) -> Encoded:
    if cell is None:
        return None
    if cell.get("bytes") is not None:
        return cell["bytes"]
    return None if cell.get("path") is None else Path(cell["path"])
