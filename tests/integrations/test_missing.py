"""What an integration says without its library."""

import subprocess
import sys

import pytest

# As if the libraries were not installed.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if (package := name.partition(".")[0]) in {libraries!r}:
            raise ModuleNotFoundError("No module named " + package, name=package)

sys.meta_path.insert(0, Missing())
"""
LIBRARIES = ["art", "datasets", "huggingface_hub", "ray", "timm", "torchvision"]

SCRIPT = """
import importlib
from comdefend.errors import ExtraMissingError
for module, use in {uses!r}:
    try:
        found = importlib.import_module("comdefend.integrations." + module)
        eval(use, vars(found))
    except ExtraMissingError as error:
        print(error)
"""
USES = [
    ("art", "None"),
    ("torchvision", "None"),
    ("huggingface", "save_pretrained(None, 'x')"),
    ("timm", "image_transform(None)"),
    ("ray", "purify_dataset(None)"),
]


def run(script):
    script = WITHOUT.format(libraries=LIBRARIES) + script
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_missing_library_is_one_line_that_names_the_extra():
    assert run(SCRIPT.format(uses=USES)) == [
        "art is not installed; run: pip install 'comdefend[art]'",
        "torchvision is not installed; run: pip install 'comdefend[torchvision]'",
        "huggingface_hub is not installed; run: pip install 'comdefend[huggingface]'",
        "timm is not installed; run: pip install 'comdefend[evaluate]'",
        "ray is not installed; run: pip install 'comdefend[ray]'",
    ]


@pytest.mark.parametrize("name", ["arrays", "huggingface", "ray"])
def test_what_needs_no_library_is_imported_without_one(name):
    assert run(f"import comdefend.integrations.{name}") == []
