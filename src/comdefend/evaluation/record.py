"""Records: what an evaluation measured, as JSON."""

import json
import math
from importlib import metadata
from pathlib import Path
from typing import Any

import comdefend
from comdefend.atomic import atomic_write
from comdefend.errors import DataMissingError, InputError

FORMAT = 1


def wilson_interval(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the confidence interval of a share (Wilson 1927).

    Args:
        hits: How many of ``count`` counted.
        count: At least 1.
        z: Quantile of the normal distribution; 1.96 for 95 %.
    """
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / count) ** 2 / 4)
    # At 0 and 1 rounding errors would leave the share itself outside.
    return min(share, max(0.0, middle - reach)), max(share, min(1.0, middle + reach))


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947).

    Args:
        lost: On how many images only the one of two was right.
        won: On how many only the other was.
    """
    changed = lost + won
    tail = sum(math.comb(changed, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**changed)


def save_record(record: dict[str, Any], path: Path) -> None:
    """Write a record, atomically.

    Raises:
        OutputError: It cannot be written.
    """
    atomic_write(path, (json.dumps(record, indent=1) + "\n").encode())


def load_record_file(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        DataMissingError: There is no such file.
        InputError: It holds no record, or one of another version.
    """
    if not path.is_file():
        raise DataMissingError(f"{path}: no such record")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a record ({error})") from error
    if not isinstance(record, dict) or "format" not in record:
        raise InputError(f"{path}: not a record of an evaluation")
    if record["format"] != FORMAT:
        raise InputError(
            f"{path}: a record of format {record['format']!r}, this comdefend reads {FORMAT}; "
            "run the evaluation again"
        )
    if not isinstance(record.get("rows"), list) or not isinstance(record.get("data"), dict):
        raise InputError(f"{path}: not a record of an evaluation")
    return record


def versions() -> dict[str, str]:
    """Return the versions of everything that figures depend on."""
    names = ("torch", "torchvision", "foolbox", "pyautoattack", "numpy", "pillow")
    found = {"comdefend": comdefend.__version__}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
