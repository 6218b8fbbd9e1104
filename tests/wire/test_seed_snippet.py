"""The published snippet, unchanged but for its documents and the length of its sleep."""

import re

import pytest
from tests.wire.conftest import SdkEnvironment
from tests.wire.interpreters import PYTHONS, run_with

_DOCUMENTS = 10_000


@pytest.mark.parametrize("namespace", ["beta", "plain"])
@pytest.mark.parametrize("sdk", PYTHONS)
def test_the_published_snippet_prints_one_answer_per_document(
    process: SdkEnvironment, sdk: str, namespace: str
) -> None:
    printed = run_with(sdk, "run_seed.py", str(_DOCUMENTS), namespace, environ=process)
    first, *answers = printed.removesuffix("\n").split("\n")
    assert re.fullmatch(r"Submitted batch msgbatch_\w+, status: in_progress", first)
    assert len(answers) == _DOCUMENTS
    found: dict[str, str] = dict(answer.split(" ", 1) for answer in answers)
    assert found.keys() == {f"doc-{i}" for i in range(_DOCUMENTS)}
    # The simulator repeats what it was asked: each answer is that of its own document.
    for custom_id, text in found.items():
        number = custom_id.removeprefix("doc-")
        assert f"document number {number} about" in text
