"""The page in a real browser, as a person uses it."""

import io
import re

import numpy as np
import pytest
from PIL import Image

# On a slow machine an attack on EfficientNet takes a while.
PATIENCE_MS = 120_000
WIDE, NARROW = 1280, 400


@pytest.fixture
def open_page(site, chromium):
    """Open the page; what it asks for and what goes wrong in it is checked at the end."""
    opened = []

    def open_one(width=WIDE, **settings):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, accept_downloads=True, **settings
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        asked, wrong = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: line.type == "error" and wrong.append(line.text))
        page.goto(site.url)
        opened.append((context, asked, wrong))
        return page

    yield open_one
    for context, asked, wrong in opened:
        context.close()
        assert wrong == []
        assert all(url.startswith((site.url, "data:", "blob:")) for url in asked)


def upload(page, photo_folder, classifier="cifar10-small"):
    page.get_by_label("Photograph", exact=True).set_input_files(photo_folder / "coffee.png")
    page.get_by_label("Classifier").select_option(classifier)


def attack(page):
    page.get_by_role("button", name="Attack and purify").click()
    page.locator("#adaptive .last .answer").wait_for()
    page.get_by_text("Done", exact=True).wait_for()


def said(page):
    """Label, confidence and mark of each answer, from the left, the images before the purified."""
    return [
        (
            box.locator(".label").inner_text(),
            int(box.locator(".confidence").inner_text().removesuffix(" %")),
            box.locator(".mark").inner_text(),
        )
        for box in page.locator("figure .answer").all()
    ]


def test_a_person_uploads_attacks_and_reads_the_labels(open_page, photo_folder):
    page = open_page()
    upload(page, photo_folder, "efficientnet-lite0")
    page.locator("#preview").wait_for()
    attack(page)
    (clean, *_, defended), answers = said(page)[:2], said(page)
    assert clean[0] == "espresso"
    assert clean[2] == defended[2] == "✓"
    # PGD within 8/255 misleads the classifier alone, and gets through once it knows the purifier.
    assert answers[2][2] == "✗"
    assert answers[5][2] == "✗"
    for label, confidence, mark in answers:
        assert (label == "espresso") == (mark == "✓")
        assert 0 < confidence <= 100
    verdict = page.locator("#verdict").inner_text()
    assert verdict.startswith("The classifier says “espresso”. Attacked, it says “")
    assert f"still gets “{answers[5][0]}”" in verdict
    # Frames tell right from wrong without colours, words without sight.
    frames = page.locator("figure img.frame-wrong, figure img.frame-right").all()
    kinds = [image.evaluate("e => getComputedStyle(e).borderStyle") for image in frames]
    assert kinds == ["solid" if mark == "✓" else "dashed" for *_, mark in answers]
    assert page.get_by_text("Not the clean answer:").count() == sum(a[2] == "✗" for a in answers)


def test_the_purified_image_is_what_is_downloaded(open_page, photo_folder):
    page = open_page()
    upload(page, photo_folder)
    attack(page)
    shown = page.locator("#adaptive .last img").get_attribute("src")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the purified image, Adaptive attack").click()
    assert download.value.suggested_filename == "purified-adaptive.png"
    with Image.open(download.value.path()) as image:
        assert image.size == (32, 32)
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 20
    assert shown.startswith("data:image/png;base64,")


def test_examples_sliders_and_only_the_rates_that_a_purifier_has(open_page):
    page = open_page()
    rate, text = page.get_by_role("slider", name=re.compile("Rate")), page.locator("#rate-text")
    offered = {}
    for purifier in ("photo", "photo-clean", "rgb-variable"):
        page.get_by_label("Purifier").select_option(purifier)
        assert text.inner_text() == "2 bits per pixel"
        rate.press("Home")
        offered[purifier] = [text.inner_text().split()[0]]
        while rate.input_value() != rate.get_attribute("max"):
            rate.press("ArrowRight")
            offered[purifier].append(text.inner_text().split()[0])
            assert rate.get_attribute("aria-valuetext") == text.inner_text()
    assert offered == {
        "photo": ["1", "2"],
        "photo-clean": ["0.25", "0.5", "1", "2"],
        "rgb-variable": ["0.5", "1", "2", "3", "6", "12"],
    }
    page.get_by_label("Purifier").select_option("rgb-12bpp")
    assert rate.is_disabled()
    assert text.inner_text() == "12 bits per pixel, its only one"
    page.get_by_label("Purifier").select_option("photo")
    page.get_by_role("slider", name=re.compile("eps")).press("Home")
    assert page.locator("#eps-text").inner_text() == "1 of 255"
    page.get_by_label("Classifier").select_option("cifar10-small")
    for name in ("Cat", "Rocket"):
        page.get_by_role("button", name=name).click()
        page.wait_for_function(
            "name => document.getElementById('file').files[0]?.name == name", arg=name
        )
        attack(page)
    assert "amplified ×128" in page.locator("#oblivious").inner_text()


def test_the_keyboard_is_enough(open_page):
    page = open_page()
    order = []

    def tab_to(name):
        for _ in range(20):
            page.keyboard.press("Tab")
            focus = page.evaluate(
                "(() => { const e = document.activeElement, s = getComputedStyle(e);"
                " return [e.labels?.[0]?.innerText ?? e.innerText, s.outlineStyle]; })()"
            )
            order.append(focus[0].split(":")[0])
            # Where the focus is can be seen.
            assert focus[1] == "solid", order
            if focus[0].startswith(name):
                return
        raise AssertionError(f"{name} is not reached: {order}")

    tab_to("Coffee")
    page.keyboard.press("Enter")
    tab_to("Classifier")
    page.keyboard.type("CIFAR-10, s")
    assert page.get_by_label("Classifier").input_value() == "cifar10-small"
    tab_to("Rate")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#rate-text").inner_text() == "1 bit per pixel"
    tab_to("Strength")
    page.keyboard.press("ArrowLeft")
    tab_to("Attack and purify")
    page.keyboard.press("Enter")
    page.locator("#adaptive .last .answer").wait_for()
    page.get_by_text("Done", exact=True).wait_for()
    tab_to("Download")
    wanted = ["Photograph", "Cat", "Coffee", "Rocket", "Motorbike", "Classifier", "Purifier",
              "Rate", "Attack", "Strength (eps)", "Attack and purify", "Download"]  # fmt: skip
    assert [
        name.split("\n")[0].removesuffix(" the purified image, Clean") for name in order
    ] == wanted


def test_progress_is_shown_and_the_page_says_what_it_waits_for(open_page):
    page = open_page()
    page.get_by_role("button", name="Coffee").click()
    page.locator("#preview").wait_for()
    page.evaluate("""() => {
        window.said = [];
        window.values = [];
        const [doing, bar] = ["doing", "progress"].map(id => document.getElementById(id));
        // Several changes may be told at once: each says what was said, and what the bar showed.
        const look = changes => {
            for (const change of changes) {
                for (const node of change.addedNodes) window.said.push(node.data);
                if (change.target === bar && change.attributeName === "value")
                    window.values.push([window.said.at(-1), Number(change.oldValue)]);
            }
        };
        new MutationObserver(look).observe(document.querySelector(".progress"),
            {subtree: true, childList: true, attributes: true, attributeOldValue: true});
    }""")
    attack(page)
    said, values = page.evaluate("[window.said, window.values]")
    assert said == [
        "Sending the photograph", "Opening classifier and purifier", "Attacking the classifier",
        "Attacking through the purifier", "Done",
    ]  # fmt: skip
    # The first of a stage is where the bar stood before.
    _, *through = [value for text, value in values if text == "Attacking through the purifier"]
    assert through == sorted(through)
    assert len(set(through)) > 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Drop a photograph first, or take one of the examples."),
        (b"no image", "the photograph is not an image of a handled format"),
        (bytes(20 * 2**20 + 1), "The photograph is larger than 20 MB."),
    ],
)
def test_what_is_wrong_is_said_on_the_page(open_page, tmp_path, content, message):
    page = open_page()
    if content is not None:
        (tmp_path / "holiday.jpg").write_bytes(content)
        page.get_by_label("Photograph", exact=True).set_input_files(tmp_path / "holiday.jpg")
    page.get_by_role("button", name="Attack and purify").click()
    alert = page.get_by_role("alert")
    alert.filter(has_text=message).wait_for()
    # It can be used again.
    assert page.locator("#go").get_attribute("aria-disabled") in (None, "false")


def test_the_smallest_screens_have_room_for_everything(open_page, photo_folder):
    page = open_page(NARROW)
    upload(page, photo_folder)
    attack(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW
    boxes = [box.bounding_box() for box in page.locator(".column").all()]
    tops = [box["y"] for box in boxes]
    assert tops == sorted(set(tops))
    for box in [*boxes, *(image.bounding_box() for image in page.locator("figure img").all())]:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= NARROW
    assert min(image.bounding_box()["width"] for image in page.locator("figure img").all()) > 120


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_both_schemes(open_page, photo_folder, scheme):
    page = open_page(color_scheme=scheme)
    upload(page, photo_folder)
    attack(page)
    corner = Image.open(io.BytesIO(page.screenshot())).getpixel((2, 2))
    assert sum(corner[:3]) > 600 if scheme == "light" else sum(corner[:3]) < 150
    texts = "h1, h2, label, .hint, .about, figcaption, .answer, .save, #go, #verdict, select"
    for color, back, text in page.eval_on_selector_all(
        texts,
        """elements => elements.filter(e => e.offsetWidth).map(e => {
            const filled = e => getComputedStyle(e).backgroundColor !== "rgba(0, 0, 0, 0)";
            let back = e;
            while (!filled(back) && back.parentElement) back = back.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(back).backgroundColor, e.innerText];
        })""",
    ):
        assert contrast(color, back) >= 4.5, (text, color, back)


def contrast(*colors):
    """The ratio that WCAG 2 defines."""

    def luminance(color):
        values = [int(v) / 255 for v in re.findall(r"\d+", color)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, colors))
    return (light + 0.05) / (dark + 0.05)


def test_dropped_and_pasted_photographs_are_taken(open_page, photo_folder):
    page = open_page()
    for kind in ("drop", "paste"):
        page.evaluate(
            """async kind => {
                const answer = await fetch("examples/Rocket");
                const data = new DataTransfer();
                data.items.add(new File([await answer.blob()], kind + ".jpg"));
                const event = kind === "drop"
                    ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                    : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
                document.getElementById("drop").dispatchEvent(event);
            }""",
            kind,
        )
        name = page.evaluate("document.getElementById('file').files[0].name")
        assert name == f"{kind}.jpg"
