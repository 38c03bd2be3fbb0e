"""Ship a finished run's weights: ``python -m tools.ship_weights NAME FILE``.

Copies the run's weight file and the card beside it into the package, and puts the file's SHA-256
into the index. A pair's purifier and classifier are two files, shipped under a name each.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

SHIPPED = Path(__file__).parent.parent / "src" / "comdefend" / "weights" / "shipped"


def ship(name: str, weights: Path) -> None:
    """Copy a weight file and its card, and update the index."""
    target = SHIPPED / f"{name}.safetensors"
    shutil.copyfile(weights, target)
    shutil.copyfile(weights.with_suffix(".md"), target.with_suffix(".md"))
    index = json.loads((SHIPPED / "index.json").read_text())
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    index[name] = {"kind": weights.stem, "sha256": digest}
    (SHIPPED / "index.json").write_text(json.dumps(dict(sorted(index.items())), indent=2) + "\n")


if __name__ == "__main__":
    ship(sys.argv[1], Path(sys.argv[2]))
