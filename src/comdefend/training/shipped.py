"""The recipe files that ship, read without torch: help texts list them."""

from importlib import resources

_FOLDER = resources.files("comdefend.training") / "recipes"


def recipe_texts() -> dict[str, str]:
    """Return the recipe files that ship, as YAML, by name."""
    files = {f.name.removesuffix(".yaml"): f for f in _FOLDER.iterdir() if ".yaml" in f.name}
    return {name: file.read_text(encoding="utf-8") for name, file in sorted(files.items())}


def recipe_titles() -> dict[str, str]:
    """Return what each recipe that ships is for, the comment on its first line, by name."""
    return {name: text.partition("\n")[0].lstrip("# ") for name, text in recipe_texts().items()}
