"""Ship a finished run's weights: ``python tools/ship_weights.py NAME RUN``.

Copies the weight file and its card into the package and puts the file's SHA-256 into the index.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

SHIPPED = Path(__file__).parent.parent / "src" / "comdefend" / "nn" / "weights"


def ship(name: str, run: Path) -> None:
    """Copy a run's weights and card, and update the index."""
    (weights,) = run.glob("*.safetensors")
    target = SHIPPED / f"{name}.safetensors"
    shutil.copyfile(weights, target)
    shutil.copyfile(weights.with_suffix(".md"), target.with_suffix(".md"))
    index = json.loads((SHIPPED / "index.json").read_text())
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    index[name] = {"kind": weights.stem, "sha256": digest}
    (SHIPPED / "index.json").write_text(json.dumps(dict(sorted(index.items())), indent=2) + "\n")


if __name__ == "__main__":
    ship(sys.argv[1], Path(sys.argv[2]))
