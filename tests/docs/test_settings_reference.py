"""The generated pages of docs/reference are those that the code gives now."""

from pathlib import Path

import pytest
from script.reference import REFERENCE, pages, settings_page

from overnight.settings import TABLE


@pytest.mark.parametrize("name", ["settings.md", "cli.md", "metrics.md", "http.md"])
def test_page_is_current(name: str) -> None:
    page: Path = REFERENCE / name
    assert page.read_text(encoding="utf-8") == pages()[page], "run script/docs"


def test_each_setting_has_its_row() -> None:
    page = settings_page()
    for row in TABLE.values():
        assert f"| `{row.name}` |" in page
        assert row.spec.about.endswith(".")
