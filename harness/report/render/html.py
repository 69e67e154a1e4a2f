"""The report as one self-contained HTML page that takes nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from harness.report.blocks import Cell, Report
from harness.report.render.embed import embed
from harness.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Page:
    """The style, script and policy inside every page; the policy lets a browser load nothing else.

    Attributes:
        policy: the Content-Security-Policy, which allows style and script by their checksums.
    """

    style: Markup
    script: Markup
    policy: str
    version: str = __version__


def html_page(report: Report) -> str:
    """Return report.html: one file, with its images, style and one small script inside."""
    return render("report.html.j2", report=report, images=embed(report))


def render(template: str, **values: object) -> str:
    """Return a page from one of our templates; ``values`` are escaped, and so shown as text."""
    return _environment().get_template(template).render(page=_page(), **values)


@cache
def _page() -> _Page:
    style, script = ((TEMPLATES / name).read_text("utf-8") for name in ("report.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_checksum(style)}; script-src {_checksum(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return _Page(Markup(style), Markup(script), policy)


def _checksum(text: str) -> str:
    """Return the checksum of an inline style or script, as a Content-Security-Policy writes it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def slug(title: str) -> str:
    """Return a section's address on the page: ``how-to-repeat-it``."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _size(png: bytes) -> tuple[int, int]:
    """Return a picture's size in CSS pixels: half of the PNG's, for screens of double density."""
    return int.from_bytes(png[16:20], "big") // 2, int.from_bytes(png[20:24], "big") // 2


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "css_size": _size,
        "slug": slug,
        "target": lambda cell: cell.to if isinstance(cell, Cell) else "",
        "place": lambda cell: cell.anchor if isinstance(cell, Cell) else "",
    }
    return environment
