"""Pages in one file: a template, its style and script inside it, and a policy that lets it reach for nothing."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, UndefinedError, select_autoescape
from markupsafe import Markup

from pipelines.reporting.models import ModelPage
from wsi.atomic import writing

_UNKNOWN = "–"


def write_page(path: Path, name: Literal["report", "evaluation", "pilot"], **values: Any) -> None:
    """Write a page from the template, the style and, where it has one, the script of that name.

    Every text of `values` is escaped.
    """
    style, script = _source(f"{name}.css"), _source("report.js") if name == "report" else ""
    values |= {"style": Markup(style), "script": Markup(script), "policy": _policy(style, script)}
    stream = environment().get_template(f"{name}.html.j2").stream(**values)
    stream.enable_buffering()
    with writing(path) as temporary:
        stream.dump(str(temporary), encoding="utf-8")


def environment() -> Environment:
    """Jinja with our templates and the ways in which numbers are written."""
    found = Environment(
        loader=PackageLoader("pipelines"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ours = {"fixed": fixed, "percent": percent, "both": both, "seconds": seconds}
    found.filters |= {**ours, "figures_of": partial(figures_of, found)}
    return found


def figures_of(templates: Environment, model: ModelPage) -> Markup:
    """A model's figures; where its files lack something, what: a report of 500 slides does not fail for it."""
    template = templates.get_template("report_model.html.j2")
    try:
        return Markup(template.render(model=model))
    except (UndefinedError, KeyError, TypeError, ValueError) as error:
        problem = f"its model.json or metrics.json is not what `tesela train` writes ({error}); train it again"
        return Markup(template.render(model=ModelPage(model.name, problem)))


def fixed(value: float | None, digits: int = 2) -> str:
    """So many digits after the point; a dash where it is not known."""
    return _UNKNOWN if value is None else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share (0-1) in per cent, without the sign."""
    return _UNKNOWN if value is None else f"{100 * value:.{digits}f}"


def both(sides: tuple[float, float]) -> str:
    """Of (x, y), once where they are the same: 0.5, 0.5 × 0.55."""
    return " × ".join(dict.fromkeys(f"{side:.4g}" for side in sides))


def seconds(value: float) -> str:
    """3.2 s, 4 min 10 s, 2 h 5 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _source(name: str) -> str:
    return resources.files("pipelines").joinpath("templates", name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Content security: this style, this script, pictures inside the page, and no network."""
    scripts = f"'{_hash_of(script)}'" if script else "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash_of(style)}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
