"""What a user says about a classifier: its name, and whatever else opening it takes."""

from typing import Any

import msgspec

from comdefend.common.schema import to_plain
from comdefend.errors import InputError


class ClassifierSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A classifier, as `open_classifier` opens it.

    Attributes:
        name: One of the forms in `CLASSIFIERS`.
        checkpoint: The file of its weights, where the name needs one.
        mean, std: For each channel, what it wants images in [0, 1] normalised by.
        classes: Names of its classes in the order of its outputs, or a file of them, as
            `read_class_names` takes it.

    Raises:
        InputError: Only one of mean and std is given.
    """

    name: str
    checkpoint: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise InputError("mean and std go together; give both or neither")

    @property
    def plain(self) -> str | dict[str, Any]:
        """What recipes hold, which is the name where that is all, and else a mapping."""
        given = {key: value for key, value in to_plain(self).items() if value is not None}
        return self.name if len(given) == 1 else given


def as_spec(classifier: ClassifierSpec | str) -> ClassifierSpec:
    """Return a classifier of which no more than the name may be given."""
    return ClassifierSpec(classifier) if isinstance(classifier, str) else classifier
