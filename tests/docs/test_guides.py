"""What README and the first guide tell a newcomer to type is run here as it is written."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from tests.support.process import server

from overnight.lifecycle import TRANSITIONS

_ROOT = Path(__file__).parents[2]
_GUIDE = _ROOT / "docs/guides/first-batch.md"


def python_of(page: Path) -> str:
    """Give the one Python example of a page."""
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return str(code)


async def printed(code: str, url: str) -> str:
    """Run an example as a program of its own, with the variables that the page names."""
    environ = os.environ | {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "not-needed"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environ, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_the_first_guide_gives_one_answer_per_document(tmp_path: Path) -> None:
    async with server(tmp_path / "data") as service:
        lines = (await printed(python_of(_GUIDE), service.base_url)).splitlines()
    assert sorted(line.split()[0] for line in lines) == ["doc-0", "doc-1", "doc-2"]


async def test_the_example_of_the_readme_creates_a_batch(tmp_path: Path) -> None:
    async with server(tmp_path / "data") as service:
        batch_id = (await printed(python_of(_ROOT / "README.md"), service.base_url)).strip()
        async with service.api() as api:
            found = await api.get(batch_id)
    assert (found.status, found.json["request_counts"]["errored"]) == (200, 0)


def test_the_drawn_states_are_those_of_the_table() -> None:
    page = (_ROOT / "docs/concepts/how-it-works.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^(\w+) --(\w+)--> (\w+)$", page, re.MULTILINE)
    assert drawn == [(before, verb, after) for (before, verb), after in TRANSITIONS.items()]


def test_the_threat_model_names_tests_that_are_there() -> None:
    page = (_ROOT / "docs/concepts/threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert named
    for file, test in named:
        assert f"def {test}" in (_ROOT / file).read_text(encoding="utf-8"), (file, test)


@pytest.mark.parametrize(
    "page",
    sorted([_ROOT / "README.md", _ROOT / "SECURITY.md", *(_ROOT / "docs").rglob("*.md")]),
    ids=lambda page: page.stem,
)
def test_every_link_within_the_pages_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
