"""The program: what it imports, how it fails, what it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.cli import failure
from overnight.cli.program import COMMANDS
from overnight.errors import ServerUnreachable
from overnight.settings import TABLE

HEAVY = {
    "anthropic",
    "litestar",
    "prometheus_client",
    "pyreqwest",
    "rich",
    "sqlalchemy",
    "uvicorn",
    "psycopg",
    "msgspec",
}
NOBODY = "http://127.0.0.1:9"


class Call:
    """One call of the program in a process of its own."""

    def __init__(self, *args: str, stdin: str = "", **environ: str) -> None:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("OVERNIGHT_", "ANTHROPIC_"))
        }
        done = subprocess.run(
            [sys.executable, "-c", "from overnight.cli import main; main()", *args],
            input=stdin, capture_output=True, encoding="utf-8", env=kept | environ, timeout=60,
        )  # fmt: skip
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


def imported_by(code: str) -> set[str]:
    """Give the top-level modules that a piece of code imports."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"],
        capture_output=True, encoding="utf-8", check=True, timeout=60,
    )  # fmt: skip
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_and_version_import_nothing_heavy() -> None:
    code = "from overnight.cli.program import run; assert run(['{}']) == 0"
    for flag in ("--help", "--version"):
        assert not imported_by(code.format(flag)) & HEAVY


def test_the_client_commands_import_no_server() -> None:
    modules = imported_by("import overnight.cli.batches, overnight.cli.watch")
    assert not modules & (HEAVY - {"pyreqwest", "msgspec"})


def test_help_lists_each_command_and_each_exit_code() -> None:
    call = Call("--help")
    assert call.code == 0
    for name in (*COMMANDS, "130"):
        assert f"  {name} " in call.out


def test_no_command_at_all_prints_the_help() -> None:
    assert Call().out == Call("--help").out


@pytest.mark.parametrize("args", [("serve",), ("batches",), ("batches", "create"), ("watch",)])
def test_each_help_shows_an_example(args: tuple[str, ...]) -> None:
    call = Call(*args, "--help")
    assert call.code == 0
    assert "Example:\n    overnight" in call.out


def test_serve_has_a_flag_for_each_setting_that_is_no_secret() -> None:
    text = Call("serve", "--help").out
    for row in TABLE.values():
        assert (f"{row.flag} " in text) if row.flag else (row.variable in text)


@pytest.mark.parametrize(
    ("args", "code", "error", "hint"),
    [
        (("serv",), 2, "no such command: serv; did you mean serve?", "overnight --help"),
        (("serve", "--prot", "1"), 2, "No such option '--prot'.", "overnight serve --help"),
        (("serve", "--port", "x"), 2, "--port x: must be a whole number", "serve --help"),
        (("serve", "--config", "no.toml"), 2, "no.toml: No such file", "--config"),
        (("batches", "list", "--base-url", NOBODY), 5, f"{NOBODY}: Connection refused", "serve"),
        (("batches", "list", "--base-url", "ftp://x"), 2, "base URL ftp://x: must begin", "http"),
        (("batches", "create", "no.jsonl"), 2, "no.jsonl: No such file", "stdin"),
        (("watch", "x", "--allow-errors", "few", "--base-url", NOBODY), 2, "few: must be", "2%"),
    ],
)  # fmt: skip
def test_a_failure_is_an_error_and_a_hint_on_stderr_and_a_code(
    args: tuple[str, ...], code: int, error: str, hint: str
) -> None:
    call = Call(*args)
    assert (call.code, call.out) == (code, "")
    first, *_, empty, last = call.err.splitlines()
    assert first.startswith(f"error: {error}") or error in first
    assert empty == ""
    assert last.startswith("hint: ") and hint in last
    assert "Traceback" not in call.err


def test_with_json_a_failure_is_one_document_on_stdout() -> None:
    call = Call("batches", "list", "--json", "--base-url", NOBODY)
    error = json.loads(call.out)["error"]
    assert (call.code, error["exit_code"], error["type"]) == (5, 5, "api_error")
    assert error["message"].startswith(NOBODY)
    assert error["hint"]
    assert call.err == ""


def test_with_json_a_wrong_call_is_one_document_too() -> None:
    call = Call("batches", "list", "--json", "--limit", "none")
    assert call.code == 2
    assert "'none' is not a valid integer" in json.loads(call.out)["error"]["message"]


DEFECT = """
import sys, overnight.cli.program as p
p.COMMANDS = {"version": p.Lazy("overnight.cli.version:missing", "")}
sys.exit(p.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_a_defect_is_one_line_and_its_traceback_goes_to_a_file_or_is_asked_for(
    tmp_path: Path, verbose: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEFECT, "version", *(["-v"] if verbose else [])],
        capture_output=True, encoding="utf-8", timeout=60,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: unexpected AttributeError\n" in done.stderr
    assert ("Traceback" in done.stderr) is verbose
    files = list(tmp_path.glob("overnight-*.txt"))
    assert len(files) == (0 if verbose else 1)
    if not verbose:
        assert str(files[0]) in done.stderr.splitlines()[-1]
        assert "Traceback" in files[0].read_text(encoding="utf-8")


def test_config_show_names_each_setting_with_value_and_origin() -> None:
    call = Call("config", "show", "--json", "--port", "7", OVERNIGHT_CONCURRENCY="8")
    shown = json.loads(call.out)
    assert list(shown) == list(TABLE)
    assert shown["port"] == {"value": 7, "origin": "--port"}
    assert shown["concurrency"] == {"value": 8, "origin": "OVERNIGHT_CONCURRENCY"}
    assert shown["host"] == {"value": "127.0.0.1", "origin": "default"}


def test_config_show_masks_secrets_in_both_forms() -> None:
    secrets = {
        "OVERNIGHT_API_KEYS": "team=sk-topsecret-0001,tiny",
        "OVERNIGHT_BACKEND_API_KEY": "sk-topsecret-0002",
        "OVERNIGHT_DATABASE_URL": "postgresql://me:topsecret@db/x",
    }
    for args in (("config", "show"), ("config", "show", "--json")):
        call = Call(*args, **secrets)
        assert call.code == 0
        assert "topsecret" not in call.out and "tiny" not in call.out
        assert "team=***0001" in call.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    call = Call("completion", shell)
    assert call.code == 0
    assert f"_OVERNIGHT_COMPLETE={shell}_complete" in call.out


def test_completion_completes_a_command() -> None:
    environ = {
        "_OVERNIGHT_COMPLETE": "bash_complete",
        "COMP_WORDS": "overnight comp",
        "COMP_CWORD": "1",
    }
    assert Call(**environ).out == "plain,completion\n"


def test_version_is_plain_or_json() -> None:
    assert Call("version").out == Call("--version").out
    assert set(json.loads(Call("version", "--json").out)) == {"version", "python"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"custom_id":"a b","params":{"model":"m","max_tokens":1,"messages":[1]}}',
         "stdin:1: requests.0.custom_id: a b: only letters, digits, _ and -"),
        ('{"custom_id":"' + "x" * 71 + '","params":{"model":"m","max_tokens":1,"messages":[1]}}',
         "stdin:1: requests.0.custom_id: 71 characters, at most 64"),
        ('{"custom_id":"a","params":{"max_tokens":0,"messages":[]}}',
         "stdin:1: requests.0.params.model: must name a model\n"
         "  stdin:1: requests.0.params.max_tokens: must be a whole number from 1\n"
         "  stdin:1: requests.0.params.messages: must be a list of at least one message"),
        ('{"custom_id":"a","params":{"model":"m","max_tokens":1,"messages":[1]}}\n\n'
         '{"custom_id":"a","params":{"model":"m","max_tokens":1,"messages":[1],"stream":true}}',
         "stdin:3: requests.1.params.stream: batches do not stream\n"
         "  stdin:3: requests.1.custom_id: a stands already at stdin:1: requests.0"),
        ('{"custom_id":"a"}\n{"custom_id":"b","params":{}, "extra":1}\nnonsense',
         "stdin:1: requests.0: Object missing required field `params`"),
        ("", "stdin: no requests"),
        ('{"requests": [{"custom_id":""}]}', "stdin: requests.0: Object missing"),
        ('{"reqests": []}', "stdin:1: requests.0: Object"),
        ("[1", "stdin:1: Input data was truncated"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_input_is_told_by_line_before_anything_is_sent(
    lines: str, said: str
) -> None:
    call = Call("batches", "create", "-", "--base-url", NOBODY, stdin=lines)
    assert (call.code, call.out) == (2, "")
    assert f"error: {said}" in call.err


def test_at_most_20_mistakes_are_told_with_the_number_of_the_rest() -> None:
    call = Call("batches", "create", "-", "--base-url", NOBODY, stdin='{"custom_id":"a"}\n' * 30)
    assert call.err.count("Object missing required field") == 20
    assert "and 10 more problems" in call.err


def test_causes_are_told_in_a_line_each_and_never_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = ServerUnreachable("the database does not answer: refused", hint="start it")
    error.__cause__ = ValueError("(psycopg.OperationalError) refused\n(Background: a link)")
    error.__cause__.__cause__ = PermissionError(13, "Permission denied")
    assert failure.report(error, as_json=False) == 5
    assert capsys.readouterr().err == (
        "error: the database does not answer: refused\n"
        "  because: Permission denied\n\nhint: start it\n"
    )
