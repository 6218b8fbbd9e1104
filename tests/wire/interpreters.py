"""The Pythons that an SDK runs in: one per major version, as two cannot live together."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Name of the SDK's version line, and the interpreter that has it.
PYTHONS = {"2": Path(sys.executable), "0": ROOT / ".venv-sdk0/bin/python"}
_WITHIN_S = 110


def run_with(sdk: str, script: str, *arguments: str, environ: Mapping[str, str]) -> str:
    """Run a script of this folder with an SDK; give what it printed.

    Raises: AssertionError with its standard error when it fails, or when there is no such SDK.
    """
    python = PYTHONS[sdk]
    assert python.is_file(), f"no anthropic {sdk}.x: {python} is missing; script/test installs it"
    ran = subprocess.run(
        [python, Path(__file__).with_name(script), *arguments],
        env={k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC_")} | {**environ},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout
