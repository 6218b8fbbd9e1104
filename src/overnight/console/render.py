"""The calculator page as HTML: served with its files beside it, or as one file of its own."""

import base64
import hashlib
from datetime import date
from functools import cache

import jinja2
import msgspec

from overnight.console import assets
from overnight.console.calculator import Page
from overnight.pricing.money import exact, shown, shown_beside, shown_small
from overnight.pricing.quantity import plain

# The address under which the files of a digest are served; relative, so any prefix will do.
ASSETS_PATH = "static"
_CLOSED = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
SERVED_POLICY = f"{_CLOSED}; script-src 'self'; style-src 'self'; frame-ancestors 'none'"


def served(page: Page) -> str:
    """Write the page whose style and scripts lie under `static/{digest}/`."""
    return (
        _templates()
        .get_template("calculator.html")
        .render(
            page=page,
            data=_embedded(page),
            folder=f"{ASSETS_PATH}/{assets.digest()}",
            inline=None,
        )
    )


def self_contained(page: Page) -> str:
    """Write the page as one file that needs nothing else, not even a network."""
    style, theme, script = assets.text(assets.STYLE), assets.text(assets.THEME), assets.script()
    # Templates put the texts between tags without any space, as hashes need it.
    policy = f"{_CLOSED}; script-src {_hash(theme)} {_hash(script)}; style-src {_hash(style)}"
    return (
        _templates()
        .get_template("calculator.html")
        .render(
            page=page,
            data=_embedded(page),
            folder=None,
            inline={"style": style, "theme": theme, "script": script, "policy": policy},
        )
    )


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("overnight.console", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "usd": shown,
        "small_usd": shown_small,
        "beside": shown_beside,
        "exact": exact,
        "plain": plain,
        "day": _day,
    }
    return environment


def _embedded(page: Page) -> str:
    """Write the data as JSON that cannot end the element it stands in."""
    return msgspec.json.encode(page.data).decode().replace("<", "\\u003c")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
