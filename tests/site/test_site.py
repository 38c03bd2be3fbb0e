"""The documentation site: built without a warning, whole, and without a network."""

import functools
import inspect
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

import comdefend
from tools.docs.records import ROOT

# Whichever test comes first builds the site.
pytestmark = pytest.mark.timeout(900)

# What a browser fetches by itself: an element, and its attribute that has the address.
LOADED = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("image", "href"), ("img", "src"),
    ("img", "srcset"), ("input", "src"), ("link", "href"), ("object", "data"), ("script", "src"),
    ("source", "src"), ("source", "srcset"), ("track", "src"), ("use", "href"), ("video", "poster"),
    ("video", "src"),
}  # fmt: skip
# Each link of a page to something here, after which it may say where in it.
FOLLOWED = {*LOADED, ("a", "href")}


class Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if (tag, name) in FOLLOWED and value:
                self.addresses.append((tag, name, value))
            if name == "id":
                self.anchors.add(value)


@functools.cache
def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pages(site):
    """Every page that Sphinx made, by its path; reports are documents of their own."""
    paths = [path for path in site.rglob("*.html") if path.parent != site / "docs/reports"]
    return {path: read(path) for path in paths}


def elsewhere(address):
    return bool(urlsplit(address).netloc)


def test_nothing_is_loaded_from_elsewhere(pages, site):
    for path, page in pages.items():
        loaded = [address for tag, name, address in page.addresses if (tag, name) in LOADED]
        assert loaded or path == site / "index.html"
        assert not [address for address in loaded if elsewhere(address)], path
    for path in (*site.rglob("*.css"), *site.rglob("*.svg")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)[\s\"']*(?:https?:)?//", text), path


def test_every_link_and_every_picture_leads_to_something(pages):
    for path, page in pages.items():
        for _, _, address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path}: {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path}: {address}"


def test_every_document_is_a_page(site):
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert len(documents) > 40
    for document in documents:
        assert (site / document.relative_to(ROOT)).with_suffix(".html").is_file(), document


def _entries(pages, site):
    """Every name that the reference has an entry of."""
    reference = [page for path, page in pages.items() if path.parent == site / "docs/reference"]
    return {name for page in reference for name in page.anchors}


def test_every_public_name_has_an_entry_and_classes_their_methods(pages, site):
    entries = _entries(pages, site)
    for name in set(comdefend.__all__) - {"__version__"}:
        assert f"comdefend.{name}" in entries
        found = getattr(comdefend, name)
        if inspect.isclass(found):
            own = [key for key, value in vars(found).items() if key[0] != "_" and value.__doc__]
            methods = [key for key in own if not key.isidentifier() or callable(vars(found)[key])]
            assert {f"comdefend.{name}.{method}" for method in methods} <= entries
    assert "__version__" in (site / "docs/reference/index.html").read_text()


def test_the_front_page_says_what_it_is_and_shows_it(pages, site):
    assert 'url=docs/index.html"' in (site / "index.html").read_text()
    front = site / "docs/index.html"
    text = front.read_text(encoding="utf-8")
    assert any("photographs" in address for tag, _, address in pages[front].addresses)
    assert text.index("A purifier for image classifiers") < text.index("photographs.png")


@pytest.fixture
def browser_page(chromium):
    """A page of a browser; nothing may go wrong in it, nor may it ask for an address.

    Without a server the search cannot fetch the pages that it finds, to quote them.
    """
    context = chromium.new_context(viewport={"width": 400, "height": 800})
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert set(wrong) <= {"Failed to fetch"}
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)


def test_a_word_is_searched_and_found_without_a_server(browser_page, site):
    browser_page.goto((site / "index.html").as_uri())
    browser_page.wait_for_url("**/docs/index.html")
    browser_page.get_by_text("Tutorial", exact=True).first.wait_for(state="attached")
    browser_page.set_viewport_size({"width": 1280, "height": 800})
    box = browser_page.get_by_placeholder("Search")
    box.fill("resubmission")
    box.press("Enter")
    found = browser_page.locator("#search-results li a")
    found.first.wait_for()
    assert any("Glossary" in title for title in found.all_inner_texts())
    found.first.click()
    assert "resubmi" in browser_page.locator("article").inner_text().lower()


@pytest.mark.parametrize(
    "name", ["docs/index", "docs/tables/cifar10", "docs/reference/evaluation", "docs/commands"]
)
def test_a_page_fits_a_phone_and_what_is_wider_scrolls_by_itself(browser_page, site, name):
    browser_page.goto((site / f"{name}.html").as_uri())
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= 400
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert browser_page.evaluate(broken) == 0
    wide = (
        "[...document.querySelectorAll('.table-wrapper')].map(t => getComputedStyle(t).overflowX)"
    )
    assert set(browser_page.evaluate(wide)) <= {"auto"}
