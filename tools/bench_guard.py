"""Compare a benchmark with the last record of its class: ``python -m tools.bench_guard RECORD``.

Prints how far each ratio has moved. Only ratios are compared, which hold on other machines of the
class; nothing fails, since the reader knows what else ran.
"""

import argparse
from pathlib import Path

from comdefend.bench.record import Ratio, Record
from comdefend.bench.tables import ratio_text
from comdefend.common.json_files import load_json
from comdefend.common.processor import class_of

RECORDS = Path(__file__).parent.parent / "docs" / "records"


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path, help="bench.json of a run")
    new = load_json(Record, parser.parse_args().record)
    path = RECORDS / f"bench-{class_of(new.flags, new.architecture)}.json"
    if not path.is_file():
        print(f"{path.name}: no record of this class yet")
        return
    print("\n".join(moved(new, load_json(Record, path))))


def moved(new: Record, old: Record) -> list[str]:
    """Return a line for each ratio of both records, those that got worse first."""
    before = {_subject(ratio): ratio for ratio in old.ratios}
    both = [(one, before[_subject(one)]) for one in new.ratios if _subject(one) in before]
    both.sort(key=lambda pair: pair[0].value / pair[1].value)
    return [f"{now.value / then.value - 1:+.0%}: {ratio_text(now)}" for now, then in both]


def _subject(ratio: Ratio) -> tuple[object, ...]:
    return ratio.what, ratio.weights, ratio.engine, ratio.precision, ratio.to


if __name__ == "__main__":
    main()
