"""Templates into HTML; every text is escaped."""

from functools import cache
from typing import Any

import jinja2

from comdefend.report.summary import NOT_MEASURED, attack_name, norm_name, percent, show


def render(template: str, **values: Any) -> str:
    """Return a template of ``report/templates`` filled with values."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("comdefend.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "attack": attack_name,
        "norm": norm_name,
        "percent": percent,
        "share": show,
    }
    environment.globals["not_measured"] = NOT_MEASURED
    return environment
