"""Ask for known vulnerabilities of locked packages: what script/audit runs, by pip-audit."""

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_SERVICE = "https://api.osv.dev"
_PROBE_S = 2
_ASK_S = 120


def unreachable() -> str | None:
    """Say why the advisory service cannot be asked; None when it can."""
    try:
        urllib.request.urlopen(f"{_SERVICE}/v1/vulns/PYSEC-2024-1", timeout=_PROBE_S).close()
    except urllib.error.HTTPError:
        # It answered.
        return None
    except OSError as error:
        return str(getattr(error, "reason", error))
    return None


def found(report: Mapping[str, Any]) -> Iterator[str]:
    """Give a line for each vulnerability in a report of pip-audit."""
    for package in report["dependencies"]:
        for vulnerability in package.get("vulns", ()):
            mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
            yield f"{package['name']} {package['version']}: {names}, mended in {mended}"


def check(locks: Sequence[str]) -> int:
    """Ask about all packages of some locks; 1 when one has a known vulnerability."""
    problems: list[str] = []
    for lock in locks:
        report = _report(lock)
        if isinstance(report, str):
            return _skipped(report)
        problems += [f"{lock}: {line}" for line in found(report)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        print("\nhint: script/lock --upgrade", file=sys.stderr)
    return 1 if problems else 0


def _report(lock: str) -> dict[str, Any] | str:
    """Give the report of pip-audit about a lock, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes",
            "--disable-pip", "--vulnerability-service", "osv", "--format", "json",
            "--output", str(file), "--progress-spinner", "off",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", timeout=_ASK_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_ASK_S} s"
        if not file.exists():
            return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return report


def _skipped(why: str) -> int:
    print(f"No look for known vulnerabilities: {_SERVICE} cannot be asked: {why}", file=sys.stderr)
    return 0


def main(arguments: Sequence[str]) -> int:
    why = unreachable()
    if why is not None:
        _skipped(why)
        return 0 if arguments[0] == "check" else 1
    return check(arguments[1:]) if arguments[0] == "check" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
