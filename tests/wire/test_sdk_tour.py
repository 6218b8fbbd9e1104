"""All batch calls through an SDK of each major version, in a process of its own."""

import pytest
from tests.wire.conftest import SdkEnvironment
from tests.wire.interpreters import PYTHONS, run_with


@pytest.mark.parametrize("sdk", PYTHONS)
def test_the_sdk_can_do_everything_with_batches(process: SdkEnvironment, sdk: str) -> None:
    printed = run_with(sdk, "sdk_tour.py", environ=process)
    first, second = printed.splitlines()
    assert first.startswith(f"anthropic {sdk}.") and first.endswith(" toured messages.batches")
    assert second.endswith(" toured beta.messages.batches")
