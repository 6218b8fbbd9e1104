"""The page on differences names settings that exist, with values that they take."""

import re
from pathlib import Path

import pytest

from overnight.settings import TABLE, load

_PAGE = Path(__file__).parents[2] / "docs/concepts/differences.md"
_TEXT = _PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(\w+ = [^`]+)`", _TEXT))))
def test_a_line_of_the_page_can_stand_in_the_configuration(line: str, tmp_path: Path) -> None:
    config = tmp_path / "overnight.toml"
    config.write_text(line, encoding="utf-8")
    name = line.split(" = ")[0]
    settings, origins = load({}, {}, config)
    assert origins[name] == f"{config}:1"
    assert getattr(settings, name) != getattr(load({}, {}, None)[0], name)


@pytest.mark.parametrize(
    "name", ["max_context_tokens", "max_batch_bytes", "processing_window_s", "retention_s"]
)
def test_a_setting_that_the_page_names_exists(name: str) -> None:
    assert f"`{name}`" in _TEXT and name in TABLE


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", _TEXT):
        assert (_PAGE.parent / target).is_file(), target
