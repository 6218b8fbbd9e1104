"""The scripts and locks: they parse, and name no registry and no machine."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from script.advisories import found

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    file
    for folder in ("script", ".ci")
    for file in sorted((ROOT / folder).rglob("*"))
    if file.is_file() and file.suffix in ("", ".sh") and "__pycache__" not in file.parts
]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
NPM_LOCK = ROOT / "tests" / "wire" / "ts" / "package-lock.json"


def test_the_words_that_a_newcomer_guesses_are_there() -> None:
    assert {"setup", "demo", "test", "lint"} <= {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_script_parses_and_names_no_place_of_one_machine(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert not re.search(r"/(root|home|work|opt|Users)/", script.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_script_can_be_called(script: Path) -> None:
    assert bool(script.stat().st_mode & 0o100) is (script.suffix == "")


@pytest.mark.parametrize("lock", [*LOCKS, NPM_LOCK], ids=lambda file: file.name)
def test_lock_names_no_registry(lock: Path) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links", lock.read_text(encoding="utf-8"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda file: file.name)
def test_each_locked_package_has_a_hash(lock: Path) -> None:
    packages = re.findall(r"^[a-z].*\n.*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    assert packages
    assert all("--hash=sha256:" in package for package in packages)


def test_a_known_vulnerability_is_named_with_what_mends_it() -> None:
    vulnerability = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1", "3.0"]}
    report = {
        "dependencies": [
            {"name": "sound", "version": "1.0", "vulns": []},
            {"name": "skipped", "skip_reason": "it is not there"},
            {"name": "holed", "version": "2.0", "vulns": [vulnerability]},
        ]
    }
    assert list(found(report)) == ["holed 2.0: PYSEC-1, CVE-1, mended in 2.1, 3.0"]


def test_each_locked_node_package_has_a_hash() -> None:
    packages = json.loads(NPM_LOCK.read_text(encoding="utf-8"))["packages"]
    assert all("integrity" in entry for path, entry in packages.items() if path)
