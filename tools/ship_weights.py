"""Put the weights of a finished run into the package: ``python -m tools.ship_weights NAME FILE``.

Copies the weight file, writes its card, and puts the SHA-256 into the index. A defended pair is two
files, a purifier and a classifier, each shipped under a name of its own. ``--cards`` writes the
cards of all shipped weights again from their records.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from comdefend import zoo
from comdefend.training.run import model_card
from comdefend.zoo.stored import read_kind

SHIPPED = Path(__file__).parent.parent / "src" / "comdefend" / "zoo" / "shipped"


def ship(name: str, weights: Path) -> None:
    """Copy a weight file, write its card, and update the index."""
    target = SHIPPED / f"{name}.safetensors"
    shutil.copyfile(weights, target)
    _write_card(name, zoo.load_record(target))
    index = json.loads((SHIPPED / "index.json").read_text())
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    index[name] = {"kind": read_kind(target), "sha256": digest}
    (SHIPPED / "index.json").write_text(json.dumps(dict(sorted(index.items())), indent=2) + "\n")


def _write_card(name: str, record: dict[str, Any]) -> None:
    (SHIPPED / f"{name}.md").write_text(model_card(record))


def main() -> None:
    """Read the arguments and do what they ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="name to ship the weights under")
    parser.add_argument("file", nargs="?", type=Path, help="weight file of the run")
    parser.add_argument("--cards", action="store_true", help="write all cards again")
    arguments = parser.parse_args()
    if arguments.cards:
        for name in (*zoo.weights(), *zoo.classifier_weights()):
            _write_card(name, zoo.load_record(name))
    elif arguments.file is None:
        parser.error("give NAME and FILE, or --cards")
    else:
        ship(arguments.name, arguments.file)


if __name__ == "__main__":
    main()
