"""What compressed files cost and keep, beside other formats."""

import math
from collections.abc import Callable

from comdefend.report.summary import percent
from tools.bd_rate import Curve, at_rate, first_rate, rate_difference
from tools.codec_accuracy import AccuracyPoint, CodecAccuracy
from tools.codec_rates import CodecRates, RatePoint, RateSet
from tools.docs.markdown import EMPTY, table
from tools.docs.records import read
from tools.docs.tables.speed import attack_title
from tools.entropy_coding import CodedRow, EntropyCoding
from tools.image_codecs import FORMATS, REFERENCE
from tools.rate_term import RateTerm, Term, TermRun

MEASURES: dict[str, Callable[[RatePoint], float | None]] = {
    "PSNR": lambda point: point.psnr,
    # On a logarithmic scale, on which curves are nearly straight.
    "MS-SSIM": lambda point: None if point.ms_ssim is None else -10 * math.log10(1 - point.ms_ssim),
}


def rate_set(data: str) -> RateSet:
    """Return what was measured on some images."""
    return next(found for found in read(CodecRates, "codec-rates").sets if found.data == data)


def curve(data: str, codec: str, measure: str = "PSNR") -> Curve:
    """Return bits per pixel and fidelity of a codec, from few bits to many."""
    points = [point for point in rate_set(data).points if point.codec == codec]
    pairs = [(point.bpp, MEASURES[measure](point)) for point in points]
    return sorted((bpp, fidelity) for bpp, fidelity in pairs if fidelity is not None)


def rates(data: str) -> str:
    """Return a row for each codec and setting."""
    rows = [
        [
            _name(point.codec),
            f"{point.setting:g}",
            f"{point.bpp:.2f}",
            f"{point.psnr:.1f} dB",
            EMPTY if point.ms_ssim is None else f"{point.ms_ssim:.3f}",
        ]
        for point in rate_set(data).points
    ]
    return table(["codec", "setting", "bits per pixel", "PSNR", "MS-SSIM"], rows)


def differences() -> str:
    """Return how many more or fewer bits than JPEG each codec takes, on all images."""
    sets = read(CodecRates, "codec-rates").sets
    columns = [(s.data, m) for s in sets for m in MEASURES if curve(s.data, REFERENCE, m)]
    codecs = dict.fromkeys(point.codec for found in sets for point in found.points)
    rows = [
        [_name(codec), *(_difference(data, codec, measure) for data, measure in columns)]
        for codec in codecs
        if codec != REFERENCE and any(len(curve(found.data, codec)) > 1 for found in sets)
    ]
    return table(["codec", *(f"{data}, {measure}" for data, measure in columns)], rows)


def difference(data: str, codec: str, measure: str = "PSNR") -> str:
    """Return how many more or fewer bits than JPEG a codec takes, in words."""
    share = rate_difference(curve(data, codec, measure), curve(data, REFERENCE, measure))
    return f"{percent(abs(share))} {'more' if share > 0 else 'fewer'}"


def _difference(data: str, codec: str, measure: str) -> str:
    if len(own := curve(data, codec, measure)) < 2:
        return EMPTY
    try:
        return f"{100 * rate_difference(own, curve(data, REFERENCE, measure)):+.0f} %"
    except ValueError:
        return EMPTY


def accuracy_record() -> CodecAccuracy:
    """Return the record of accuracy."""
    return read(CodecAccuracy, "codec-accuracy")


def accuracy() -> str:
    """Return accuracy on what files hold, and beside it that of JPEG files of equal size."""
    record = accuracy_record()
    titles = ["clean", *(attack_title(attack) for attack in record.attacks)]
    rows = [
        [
            _name(point.codec),
            f"{point.setting:g}",
            f"{point.bpp:.2f}",
            *(_beside(point, place) for place in range(len(titles))),
        ]
        for point in record.points
    ]
    return table(["codec", "setting", "bits per pixel", *titles], rows)


def _beside(point: AccuracyPoint, place: int) -> str:
    own = percent(shares(point)[place])
    if point.codec == REFERENCE:
        return own
    other = at_rate(accuracy_curve(REFERENCE, place), point.bpp)
    return f"{own} / {EMPTY if other is None else percent(other)}"


def beside_jpeg(codec: str, setting: float) -> str:
    """Return accuracy on files of a codec, and on JPEG files of equal size, in words."""
    point = _accuracy_point(codec, setting)
    titles = ["on clean images", *(f"under {attack_title(a)}" for a in accuracy_record().attacks)]
    pairs = []
    for place, title in enumerate(titles):
        other = at_rate(accuracy_curve(REFERENCE, place), point.bpp)
        assert other is not None
        pairs.append(f"{percent(shares(point)[place])} to {percent(other)} {title}")
    return ", ".join(pairs)


def bits_for_clean(codec: str, setting: float) -> str:
    """Return the bits per pixel of files, and of JPEG files of equal clean accuracy, in words."""
    point = _accuracy_point(codec, setting)
    found = first_rate(accuracy_curve(REFERENCE, 0), point.clean)
    assert found is not None
    return f"{point.bpp:.2f} bits per pixel to {found:.2f}"


def most(codec: str, place: int) -> str:
    """Return the most that a codec keeps at any setting, as for `accuracy_curve`."""
    return percent(max(share for _, share in accuracy_curve(codec, place)))


def _accuracy_point(codec: str, setting: float) -> AccuracyPoint:
    points = accuracy_record().points
    return next(p for p in points if (p.codec, p.setting) == (codec, setting))


def reached() -> str:
    """Return the settings that keep as much as JPEG of equal size, and more under attack."""
    names = []
    for point in accuracy_record().points:
        gains = [
            own - other
            for place, own in enumerate(shares(point))
            if (other := at_rate(accuracy_curve(REFERENCE, place), point.bpp)) is not None
        ]
        if point.codec in FORMATS or not gains:
            continue
        if gains[0] >= 0 and min(gains[1:]) > 0:
            names.append(f"`{point.codec}@{point.setting:g}`")
    return ", ".join(names) or "none"


def shares(point: AccuracyPoint) -> tuple[float, ...]:
    """Return the accuracy on clean images and under each attack."""
    return point.clean, *point.attacked


def accuracy_curve(codec: str, place: int) -> Curve:
    """Return bits per pixel and accuracy of a codec: clean at place 0, then under each attack."""
    points = accuracy_record().points
    return sorted((p.bpp, shares(p)[place]) for p in points if p.codec == codec)


def entropy_record() -> EntropyCoding:
    """Return the record of entropy coding."""
    return read(EntropyCoding, "entropy-coding")


def entropy() -> str:
    """Return what entropy coding saves and how fast it is, for every purifier."""
    head = [
        "weights", "images", "code", "bound", "stored", "saved",
        "coded, MP per s of a core", "decoded",
    ]  # fmt: skip
    rows = [
        [
            f"`{row.weights}`",
            row.data.removeprefix("folder:"),
            f"{row.code:.2f}",
            f"{row.bound:.3f}",
            f"{row.stored:.3f}",
            percent(1 - row.stored / row.code),
            f"{_megapixels(row) / row.coding:.1f}",
            f"{_megapixels(row) / row.decoding:.1f}",
        ]
        for row in entropy_record().rows
    ]
    return table(head, rows, names=2)


def _megapixels(row: CodedRow) -> float:
    return row.size[0] * row.size[1] / 1e6


def against_purifying(weights: str) -> str:
    """Return how many times the processor time of purifying both ways together take."""
    row = _coded(weights)
    networks = row.encoder + row.decoder
    return f"{(networks + row.coding + row.decoding) / networks:.2f}"


def entropy_share(weights: str, way: str) -> str:
    """Return the share of the entropy coder in the processor time of a way, there or back."""
    row = _coded(weights)
    coder, network = (row.coding, row.encoder) if way == "there" else (row.decoding, row.decoder)
    return percent(coder / (coder + network))


def _coded(weights: str) -> CodedRow:
    return next(row for row in entropy_record().rows if row.weights == weights)


def terms() -> str:
    """Return what each term in the loss does to the files of each rate, and in the mean."""
    record = read(RateTerm, "rate-term")
    rates = [f"{rate.rate:g}" for rate in record.runs[0].rates]
    rows = [
        [
            term_name(run.term) + (f" {run.weight:g}" if run.weight else ""),
            *(f"{rate.bpp:.3f} at {rate.psnr:.2f} dB" for rate in run.rates),
            _against_none(run),
        ]
        for run in record.runs
    ]
    return table(["added to the loss", *(f"code of {rate}" for rate in rates), "bits"], rows)


def term_name(term: Term) -> str:
    """Return what a term is called."""
    return {"none": "nothing", "lambda": "lambda", "bits": "estimated bits"}[term]


def term_curve(run: TermRun) -> Curve:
    """Return bits per pixel and PSNR of a training."""
    return [(rate.bpp, rate.psnr) for rate in run.rates]


def _against_none(run: TermRun) -> str:
    (none,) = (found for found in read(RateTerm, "rate-term").runs if found.term == "none")
    if run is none:
        return EMPTY
    return f"{100 * rate_difference(term_curve(run), term_curve(none)):+.1f} %"


def _name(codec: str) -> str:
    return codec if codec in FORMATS else f"`{codec}`"
