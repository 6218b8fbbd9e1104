"""The tables of backends and routes: what they may say, and what is told of mistakes."""

from pathlib import Path

import pytest

from overnight.errors import ConfigInvalid
from overnight.fleet import BackendTable, Destination, load_fleet
from overnight.settings import load

WHOLE = """
concurrency = 16

[backends.claude]
url = "https://api.anthropic.com"
api_key_env = "CLAUDE_KEY"
concurrency = 50
requests_per_minute = 4000

[backends.gpus]
url = ["http://gpu-1:8000", "http://gpu-2:8000"]
prefix_caching = "automatic"
cut_stragglers = "on"

[backends.small]
gguf = "models/small.gguf"

[[routes]]
model = "claude-*"
backends = ["claude"]
fallbacks = [{backend = "gpus", model = "qwen3-32b"}]

[[routes]]
backends = [{backend = "gpus", weight = 3}, {backend = "small", weight = 1}]
"""


def refusal(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    file = tmp_path / "routing.toml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load_fleet(file, environ or {})
    return caught.value.message.removeprefix(f"{file}: ").removeprefix(f"routing {file}: ")


def test_a_file_says_which_backends_there_are_and_what_goes_where(tmp_path: Path) -> None:
    file = tmp_path / "overnight.toml"
    file.write_text(WHOLE)
    fleet = load_fleet(file, {"CLAUDE_KEY": "sk-secret"})
    assert list(fleet.backends) == ["claude", "gpus", "small"]
    assert fleet.backends["claude"].api_key == "sk-secret"
    assert fleet.backends["gpus"].urls == ("http://gpu-1:8000", "http://gpu-2:8000")
    assert fleet.backends["small"] == BackendTable(gguf=str(tmp_path / "models" / "small.gguf"))
    assert fleet.routes[0].fallbacks == (Destination(backend="gpus", model="qwen3-32b"),)
    assert fleet.routes[1].model == "*"


@pytest.mark.parametrize(
    ("url", "key"),
    [("https://api.anthropic.com", "sk-ant"), ("https://example.com", None)],
)
def test_the_key_for_anthropic_goes_only_to_anthropic(
    tmp_path: Path, url: str, key: str | None
) -> None:
    file = tmp_path / "routing.toml"
    file.write_text(f'[backends.a]\nurl = "{url}"\n')
    fleet = load_fleet(file, {"ANTHROPIC_API_KEY": "sk-ant"})
    assert fleet.backends["a"].api_key == key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[backends.a]\n", "backends.a: needs exactly one of url, gguf and simulator"),
        (
            '[backends.a]\nurl = "http://x"\nsimulator = true\n',
            "backends.a: needs exactly one of url, gguf and simulator",
        ),
        ("[[routes]]\nbackends = []\n", "backends: at least one table [backends.NAME] is needed"),
        (
            "[backends.a]\nsimulator = true\n[[routes]]\nbackends = []\n",
            "routes.0.backends: at least one backend is needed",
        ),
        (
            '[backends.gpus]\nsimulator = true\n[[routes]]\nbackends = ["gpu"]\n',
            "routes.0: no backend is called 'gpu'; did you mean gpus?",
        ),
        (
            '[backends.a]\nsimulator = true\n[[routes]]\nbackends = ["a"]\nfallbacks = ["a"]\n',
            "routes.0: backend 'a' stands there twice",
        ),
        (
            '[backends.a]\nsimulator = true\n[[routes]]\nbackends = [{backend = "a", weight = 0}]',
            "routes.0.backends.0.weight: 0: expected `float` > 0.0",
        ),
        (
            "[backends.a]\nsimulator = true\n[backends.b]\nsimulator = true\n"
            '[[routes]]\nbackends = [{backend = "a", weight = 2}, "b"]',
            "routes.0: either all backends have a weight or none has",
        ),
        (
            "[backends.a]\nsimulator = true\nconcurrency = 0\n",
            "backends.a.concurrency: 0: expected `int` >= 1",
        ),
        (
            '[backends.a]\nurl = "http://x"\nurls = 1\n',
            "backends.a: object contains unknown field `urls`",
        ),
        ("[[route]]\nmodel = 'x'\n", "route: unknown; did you mean routes or routing?"),
        (
            '[backends.a]\nurl = "http://x"\napi_key_env = "NO_SUCH"\n',
            "backends.a.api_key_env: the variable NO_SUCH is not set",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    assert refusal(tmp_path, text) == told


def test_a_key_is_never_told(tmp_path: Path) -> None:
    text = '[backends.a]\nurl = "http://x"\napi_key = ["sk-secret"]\n'
    assert "sk-secret" not in refusal(tmp_path, text)


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"routing .*none\.toml: No such file"):
        load_fleet(tmp_path / "none.toml")
    assert refusal(tmp_path, "[backends").startswith("not valid TOML")


def test_the_tables_may_stand_in_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "overnight.toml"
    file.write_text(WHOLE)
    settings, origins = load({}, {}, file)
    assert settings.routing == file
    assert settings.concurrency == 16
    assert origins["routing"].startswith(str(file))


@pytest.mark.parametrize(
    "flags", [{"backend": "http://127.0.0.1:1"}, {"gguf": ("a.gguf",)}], ids=["backend", "gguf"]
)
def test_only_one_place_says_who_answers(tmp_path: Path, flags: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid, match="only one of them can say who answers"):
        load({"routing": str(tmp_path / "r.toml"), **flags}, {}, None)


def test_several_urls_are_each_checked() -> None:
    settings, _ = load({"backend": "http://a:8000, http://b:8000/"}, {}, None)
    assert settings.backend == "http://a:8000,http://b:8000"
    with pytest.raises(ConfigInvalid, match="must be an absolute http or https URL"):
        load({"backend": "http://a:8000,b"}, {}, None)
