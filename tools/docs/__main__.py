"""Write the documents, or list the stale ones."""

import argparse
import sys

from tools.docs.pages import ROOT, documents, stale


def main() -> int:
    """Return 1 where documents are stale, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        found = stale()
        print("\n".join(found) or "all documents are fresh")
        return int(bool(found))
    for path, text in documents().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
