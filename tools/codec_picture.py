"""Draw a photograph as files of equal size hold it: ``python -m tools.codec_picture``.

A photograph of scikit-image, beside what a compressed file holds of it, and what the largest JPEG
file holds that is not larger.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from comdefend.data.shipped import photograph_files
from tools.image_codecs import format_codecs, own_codecs

PICTURE = Path(__file__).parent.parent / "docs" / "codec-photograph.png"
PHOTOGRAPHS = ("Cat", "Coffee")
WEIGHTS = "photo"
BPP = 1.0
SIDE, CAPTION, GAP = 240, 22, 8


def draw() -> Image.Image:
    """Return the picture, a row for each photograph."""
    files = photograph_files()
    rows = [_row(files[name]) for name in PHOTOGRAPHS]
    width, height = rows[0].size
    picture = Image.new("RGB", (width, len(rows) * height + (len(rows) - 1) * GAP), "white")
    for place, row in enumerate(rows):
        picture.paste(row, (0, place * (height + GAP)))
    return picture


def _row(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    (own,) = own_codecs({WEIGHTS: (BPP,)})
    data = own.encode(image)
    others = [c.encode(image) for c in format_codecs({"JPEG": range(1, 96)})]
    jpeg = max((other for other in others if len(other) <= len(data)), key=len)
    (reader,) = format_codecs({"JPEG": (50,)})
    parts = {
        "original": image,
        f"{WEIGHTS}, {len(data):,} bytes": own.decode(data),
        f"JPEG, {len(jpeg):,} bytes": reader.decode(jpeg),
    }
    row = Image.new("RGB", (len(parts) * (SIDE + GAP) - GAP, SIDE + CAPTION), "white")
    pen, font = ImageDraw.Draw(row), ImageFont.load_default(14)
    for place, (caption, part) in enumerate(parts.items()):
        x = place * (SIDE + GAP)
        row.paste(part, (x, CAPTION))
        pen.text((x, 2), caption, fill="#24292f", font=font)
    return row


if __name__ == "__main__":
    draw().save(PICTURE, optimize=True)
