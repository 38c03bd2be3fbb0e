"""What a real server answers to a real client."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import comdefend
from comdefend.classifiers import open_classifier
from comdefend.defenses import DefendedClassifier
from comdefend.defenses.detection import Detector
from tests.service.conftest import TOKEN

CLASSES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
WEIGHTS, CLASSIFIER = "rgb-variable@2", "cifar10-small"


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory):
    classes = tmp_path_factory.mktemp("classes") / "classes.txt"
    classes.write_text("\n".join(CLASSES))
    options = ["--classifier", CLASSIFIER, "--resize", "36", "--crop", "32"]
    return start_server("--weights", WEIGHTS, *options, "--classes", str(classes), token=TOKEN)


@pytest.fixture(scope="module")
def photo(chelsea):
    return chelsea.crop((100, 50, 190, 120))


def files(photo, encoded):
    """Files of every kind, as users have them."""
    turned = Image.Exif()
    turned[0x0112], turned[0x013B] = 6, "an artist"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = photo.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    return {
        "png": encoded(photo, dpi=(72, 72), icc_profile=profile),
        "jpg": encoded(photo, "JPEG", exif=turned, comment=b"a comment", quality=90),
        "webp": encoded(alpha, "WEBP", lossless=True),
        "gif": encoded(photo.quantize(16), "GIF"),
        "bmp": encoded(photo.convert("L"), "BMP"),
    }


def same(answer, path, format="png"):
    with Image.open(path) as expected:
        expected.load()
        assert answer.headers["content-type"] == f"image/{format}"
        assert (answer.image.mode, answer.image.size) == (expected.mode, expected.size)
        assert np.array_equal(np.asarray(answer.image), np.asarray(expected))
        assert answer.image.getexif().tobytes() == expected.getexif().tobytes()
        for key in ("icc_profile", "dpi", "Comment", "comment"):
            assert answer.image.info.get(key) == expected.info.get(key), key


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif", "bmp"])
def test_an_image_comes_back_as_purify_writes_it(server, photo, encoded, tmp_path, kind):
    (tmp_path / f"image.{kind}").write_bytes(body := files(photo, encoded)[kind])
    for format, suffix in (("png", "png"), ("webp", "webp"), ("tiff", "tif")):
        target = tmp_path / f"clean.{suffix}"
        (result,) = comdefend.purify_files(
            tmp_path / f"image.{kind}", target, WEIGHTS, engine="torch"
        )
        answer = server.post(f"/purify?format={suffix}", body)
        assert answer.status == 200, answer.body
        same(answer, target, format)
        assert answer.headers.get("comdefend-notes", "") == "; ".join(result.notes)


def test_many_clients_at_once_get_their_own_images(server, chelsea, encoded):
    from concurrent.futures import ThreadPoolExecutor

    crops = [chelsea.crop((x, x, x + 40 + x % 3, x + 48)) for x in range(24)]
    purifier = comdefend.load(WEIGHTS)
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda c: server.post("/purify", encoded(c)), crops))
    for crop, answer in zip(crops, answers, strict=True):
        pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1).unsqueeze(0).float() / 255
        with torch.inference_mode():
            expected = purifier(pixels)[0].permute(1, 2, 0).numpy()
        error = np.asarray(answer.image) / 255 - expected
        # In batches of other sizes sums round otherwise, and may turn a bit.
        assert np.abs(error).mean() < 0.002
    batches = server.get("/metrics").body.decode()
    assert 'comdefend_requests_total{path="/purify",status="200"}' in batches


def test_classify_answers_before_and_after(server, chelsea, encoded):
    answer = server.post("/classify", encoded(chelsea))
    assert answer.status == 200, answer.body
    small = chelsea.resize((54, 36), Image.Resampling.BILINEAR).crop((11, 2, 43, 34))
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).unsqueeze(0).float() / 255
    classifier = open_classifier(CLASSIFIER)
    defended = DefendedClassifier(comdefend.load(WEIGHTS), classifier)
    with torch.inference_mode():
        after, before = (f(pixels).softmax(1)[0] for f in (defended, classifier))
        score = Detector(defended).scores(pixels).item()
    found = answer.json
    assert set(found) == {"classes", "unpurified", "moved", "detection_score"}
    assert len(found["classes"]) == 5
    for told in found["classes"]:
        assert told["confidence"] == pytest.approx(after[told["index"]].item(), abs=1e-4)
    assert found["classes"][0]["index"] == after.argmax().item()
    assert found["classes"][0]["label"] in ("cat", "dog", "bird", "frog", "deer", "horse")
    assert found["unpurified"]["index"] == before.argmax().item()
    assert found["moved"] == (before.argmax() != after.argmax()).item()
    assert found["detection_score"] == pytest.approx(score, abs=1e-4)


def test_a_strip_that_cannot_be_classified_is_refused(server, encoded):
    answer = server.post("/classify", encoded(Image.new("RGB", (100_000, 1))))
    assert answer.status == 422
    assert "more than" in answer.json["message"]


def test_the_description_names_every_path(server):
    document = server.get("/openapi.json").json
    assert set(document["paths"]) == {
        "/purify", "/classify", "/healthz", "/metrics", "/openapi.json"
    }  # fmt: skip
    assert document["security"] == [{"token": []}]
    page = server.get("/").body.decode()
    assert all(path in page for path in document["paths"])
    # It works where there is no network.
    assert "<script" not in page
    assert "http" not in page.replace("HTTP", "")


def test_without_the_token_only_health_and_description_are_open(server, encoded):
    body = encoded(Image.new("RGB", (8, 8)))
    for wrong in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN):
        for method, path in (("POST", "/purify"), ("POST", "/classify"), ("GET", "/metrics")):
            answer = server.request(method, path, body, Authorization=wrong)
            assert answer.status == 401, (wrong, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json["status"] == 401
    for path in ("/", "/healthz", "/openapi.json"):
        assert server.get(path, Authorization="").status == 200
    assert server.post("/purify", body, Authorization=f"bearer {TOKEN}").status == 200


def test_metrics_count_requests_and_batches(server, photo, encoded):
    def figures():
        lines = server.get("/metrics").body.decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    before = figures()
    server.post("/purify", encoded(photo))
    after = figures()

    def grown(name):
        return float(after[name]) - float(before.get(name, 0))

    assert grown('comdefend_requests_total{path="/purify",status="200"}') == 1
    assert grown("comdefend_batch_images_count") == 1
    assert grown("comdefend_accepted_pixels_total") == photo.width * photo.height
    assert grown("comdefend_engine_seconds_total") > 0
    assert float(after["comdefend_accepted_images"]) == 0
    assert float(after["process_resident_memory_bytes"]) > 0


def test_what_is_not_there_is_said_in_json(server):
    for method, path, status in (("GET", "/nowhere", 404), ("GET", "/purify", 405)):
        answer = server.request(method, path)
        assert answer.status == status
        assert answer.json["status"] == status
    assert server.request("GET", "/purify").headers["allow"] == "POST"


def test_nothing_is_logged_but_where_it_listens(server):
    (line,) = server.log.read_text().splitlines()
    assert line.startswith("listening on ")
    json.loads(server.get("/healthz").body)


def test_what_a_classifier_cannot_take_is_refused(start_server, encoded, chelsea):
    gray = start_server("--weights", "gray-2bpp-robust", "--classifier", "cifar10-small")
    answer = gray.post("/classify", encoded(chelsea.convert("L").crop((0, 0, 32, 32))))
    assert answer.status == 422
    assert "the body has 1x32x32 values, which the classifier does not take" in answer.body.decode()
    colour = gray.post("/purify", encoded(chelsea.crop((0, 0, 32, 32))))
    assert colour.status == 422
    assert "is a colour image, and these weights take grey ones" in colour.json["message"]
