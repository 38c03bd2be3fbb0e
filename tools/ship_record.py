"""Put an experiment's record among the documents: ``python tools/ship_record.py RUN...``.

The report goes along without its example images, which may not be ours to give away.
"""

import shutil
import sys
from pathlib import Path

from comdefend.evaluation.record import load_record_file
from comdefend.evaluation.report import write_report

DOCS = Path(__file__).parent.parent / "docs"


if __name__ == "__main__":
    for run in map(Path, sys.argv[1:]):
        record = load_record_file(run / "record.json")
        shutil.copyfile(run / "record.json", DOCS / "records" / f"{record['name']}.json")
        write_report(record, DOCS / "reports" / f"{record['name']}.html")
