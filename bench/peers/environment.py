"""Environments of peers: each made of its file in requirements/, in bench/.work, on first use."""

import shutil
import subprocess
import sys
from pathlib import Path

from bench.process import BenchFailed, environment
from bench.run import WORK

_REQUIREMENTS = Path(__file__).parent / "requirements"
_INSTALL_WITHIN_S = 900.0
# What is installed; written last.
_STAMP = "installed.txt"

# Peers fetch nothing and report nothing about their use.
QUIET = {
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def requirements(name: str) -> Path:
    """Give the file that says what a peer needs; its first line is the peer itself."""
    return _REQUIREMENTS / f"{name}.txt"


def release(requirements: Path) -> str:
    """Name the peer's release: `litellm 1.110.2`."""
    first = requirements.read_text(encoding="utf-8").splitlines()[0]
    return first.partition("[")[0].partition("==")[0] + " " + first.partition("==")[2]


def python(requirements: Path) -> Path:
    """Give the Python of an environment that was prepared."""
    return _folder(requirements) / "bin" / "python"


def prepare(requirements: Path, *, python: str | None) -> None:
    """Make an environment, unless it is there already, with a `python` such as `3.12`.

    Raises: BenchFailed with what the tool said when it cannot be made.
    """
    folder = _folder(requirements)
    wanted = requirements.read_text(encoding="utf-8")
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"note: installing {release(requirements)} …", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(_interpreter(python), "-m", "venv", folder, python=python)
    _run(
        folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries", "1",
        "--disable-pip-version-check", "--requirement", requirements,
    )  # fmt: skip
    stamp.write_text(wanted, encoding="utf-8")


def _folder(requirements: Path) -> Path:
    return WORK / "peers" / requirements.stem


def _interpreter(version: str | None) -> str:
    if version is None:
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise BenchFailed(f"it needs python{version}, which is not installed")
    return found


def _run(*command: str | Path, python: str | None = None) -> None:
    # Where pyenv is used, its python3.12 starts only when that version is asked for.
    environ = environment() | ({"PYENV_VERSION": python} if python else {})
    try:
        ran = subprocess.run(
            [str(part) for part in command],
            env=environ, capture_output=True, timeout=_INSTALL_WITHIN_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchFailed(f"its environment cannot be made: {error}") from error
    if ran.returncode != 0:
        said = (ran.stdout + ran.stderr).decode("utf-8", "replace").strip()
        raise BenchFailed(f"its environment cannot be made: {said[-500:]}")
