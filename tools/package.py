"""Build the source distribution and the wheel, check both, and say what the wheel holds.

python -m tools.package FOLDER
"""

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from tools.docs.records import ROOT

UV = Path(sys.executable).with_name("uv")


def build(folder: Path) -> tuple[Path, Path]:
    """Build into an empty folder, the wheel from what the source distribution holds.

    Returns:
        The source distribution and the wheel.
    """
    options = ["--quiet", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([UV, "build", *options, "--out-dir", folder, ROOT], check=True)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


def check(source: Path, wheel: Path) -> None:
    """Check what an index would refuse, and what a wheel should not hold.

    Raises:
        subprocess.CalledProcessError: Something is wrong; the tool has said what.
    """
    tools = Path(sys.executable).parent
    subprocess.run([tools / "twine", "check", "--strict", source, wheel], check=True)
    settings = f"--config={ROOT / 'pyproject.toml'}"
    subprocess.run([tools / "check-wheel-contents", settings, wheel], check=True)


def contents(wheel: Path) -> Counter[str]:
    """Return the compressed bytes of a wheel by the suffix of its files."""
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(wheel) as opened:
        for file in opened.infolist():
            sizes[PurePosixPath(file.filename).suffix or "other"] += file.compress_size
    return sizes


def main() -> None:
    """Do all of it."""
    folder = Path(sys.argv[1])
    for old in (*folder.glob("comdefend-*.tar.gz"), *folder.glob("comdefend-*.whl")):
        old.unlink()
    source, wheel = build(folder)
    check(source, wheel)
    for file in (source, wheel):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    for suffix, size in contents(wheel).most_common():
        print(f"  {suffix:12} {size / 1e6:8.3f} MB")


if __name__ == "__main__":
    main()
