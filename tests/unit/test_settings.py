"""Settings: order of sources, checks, messages that name place, value and bound."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.errors import ConfigInvalid
from overnight.setting import Setting, mask, shown
from overnight.settings import TABLE, Settings, is_loopback, load

BOUNDED = [row for row in TABLE.values() if row.kind in ("whole", "number")]


def problems_of(
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    config: Path | None = None,
) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        load(flags or {}, environ or {}, config)
    assert caught.value.hint
    return caught.value.message


def in_file(folder: Path, text: str) -> Path:
    file = folder / "overnight.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_anything_each_setting_has_its_default() -> None:
    settings, origins = load({}, {}, None)
    assert settings == Settings()
    assert set(origins) == set(TABLE) and set(origins.values()) == {"default"}


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = in_file(tmp_path, "# ours\nport = 1\nconcurrency = 1\nmax_attempts = 1\n")
    environ = {"OVERNIGHT_PORT": "2", "OVERNIGHT_CONCURRENCY": "2"}
    settings, origins = load({"port": "3"}, environ, file)
    assert (settings.port, settings.concurrency, settings.max_attempts) == (3, 2, 1)
    assert settings.lease_s == 15.0
    assert origins["port"] == "--port"
    assert origins["concurrency"] == "OVERNIGHT_CONCURRENCY"
    assert origins["max_attempts"] == f"{file}:4"
    assert origins["lease_s"] == "default"


@pytest.mark.parametrize("row", BOUNDED, ids=lambda row: row.name)
def test_both_bounds_are_allowed_and_what_lies_outside_is_refused_with_them(row: Setting) -> None:
    low, high = row.spec.low, row.spec.high
    assert low is not None and high is not None
    for good in (low, high):
        settings, _ = load({row.name: f"{good:.0f}" if good == int(good) else str(good)}, {}, None)
        assert getattr(settings, row.name) == good
    for bad in (low - 1, high + 1):
        message = problems_of({row.name: f"{bad:.0f}"})
        assert message.startswith(f"{row.flag} {bad:.0f}: must be from {row.bound}")


@given(st.integers(0, 65_535))
def test_a_value_means_the_same_in_a_flag_and_in_a_variable(port: int) -> None:
    by_flag, _ = load({"port": str(port)}, {}, None)
    by_variable, _ = load({}, {"OVERNIGHT_PORT": str(port)}, None)
    assert by_flag == by_variable == Settings(port=port)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port = 70000", "port = 70000: must be from 0 to 65,535"),
        ("port = 1.5", "port = 1.5: must be a whole number"),
        ("port = true", "port = True: must be a whole number"),
        ('concurrency = "many"', 'concurrency = "many": must be a whole number from 1 to 4,096'),
        ("lease_s = nan", "lease_s = nan: must be from 0.1 to 3,600 seconds"),
        ("worker = 1", "worker = 1: must be true or false"),
        ('log_level = "warn"', "must be one of debug, info, warning, error; did you mean warning?"),
        ('backend = "localhost:8000"', "must be simulator or an absolute http or https URL"),
        ('public_url = "simulator"', "must be an absolute http or https URL"),
        ('database_url = "mysql://db"', "must begin with postgresql://"),
        ("data = 5", "must be text in quotes"),
        ('data = ""', "must not be empty"),
        ("api_keys = [1]", "must be a list of texts"),
        ('workspace_weights = ["a=0"]', "entry 0 must be `workspace=weight`, the weight a number"),
        ('workspace_weights = ["a=1", "a=2"]', "entry 0 repeats workspace a"),
        ("webhooks_allow = [1]", "must be a list of texts"),
        ('webhooks_allow = ["10.0.0.0/8", "ten"]', "entry 1 must be a network like 10.0.0.0/8"),
        ('webhooks_allow = "10.1.0.0/8"', "with all bits after its length 0"),
        ('server_secret = "short"', "must have at least 32 characters"),
        ('prot = "x"', "prot: unknown setting; did you mean port?"),
        ("[backend]\nurl = 1", "must be text in quotes"),
        ("[server]\nport = 1", "server: unknown setting"),
    ],
)
def test_a_bad_line_of_the_file_is_named_with_its_number(
    tmp_path: Path, line: str, said: str
) -> None:
    file = in_file(tmp_path, f"\n# comment\n{line}\n")
    message = problems_of(config=file)
    assert message.startswith(f"{file}:3: ")
    assert said in message


def test_a_file_that_is_no_toml_is_refused_with_line_and_column(tmp_path: Path) -> None:
    file = in_file(tmp_path, "port = 1\nhost = oops\n")
    assert problems_of(config=file) == f"{file}:2:8: Invalid value"


def test_a_file_that_ends_too_early_is_refused_with_its_last_line(tmp_path: Path) -> None:
    file = in_file(tmp_path, 'port = 1\napi_keys = ["a",\n')
    assert problems_of(config=file).startswith(f"{file}:3: ")


def test_a_missing_file_is_refused_only_when_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({}, {}, None)[0] == Settings()
    assert "missing.toml: No such file" in problems_of(config=Path("missing.toml"))
    assert "other.toml: No such file" in problems_of(environ={"OVERNIGHT_CONFIG": "other.toml"})


def test_the_file_of_the_working_folder_is_read_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file(tmp_path, "port = 9\n")
    monkeypatch.chdir(tmp_path)
    settings, origins = load({}, {}, None)
    assert (settings.port, origins["port"]) == (9, "overnight.toml:1")


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    file = in_file(tmp_path, 'data = "here"\n')
    assert load({}, {}, file)[0].data == tmp_path / "here"
    assert load({"data": "there"}, {}, file)[0].data == Path("there")


def test_a_simulator_table_makes_the_file_the_simulators_script(tmp_path: Path) -> None:
    file = in_file(tmp_path, "port = 9\n[simulator]\nseed = 3\n")
    settings, origins = load({}, {}, file)
    assert settings.simulator_script == file
    assert origins["simulator_script"] == f"{file}:2"


def test_two_scripts_for_the_simulator_are_refused(tmp_path: Path) -> None:
    file = in_file(tmp_path, 'simulator_script = "x.toml"\n[simulator]\nseed = 3\n')
    assert problems_of(config=file).startswith(f"{file}:2: simulator: unknown setting")


def test_an_unknown_variable_is_refused_with_a_near_name() -> None:
    message = problems_of(environ={"OVERNIGHT_CONCURENCY": "3"})
    assert message == (
        "OVERNIGHT_CONCURENCY: unknown variable; did you mean OVERNIGHT_CONCURRENCY?"
    )


def test_variables_of_our_clients_and_empty_ones_are_let_pass() -> None:
    environ = {
        "OVERNIGHT_BASE_URL": "http://x",
        "OVERNIGHT_PROGRESS": "plain",
        "OVERNIGHT_PORT": "",
    }
    assert load({}, environ, None)[0] == Settings()


def test_all_problems_are_told_at_once_but_at_most_20(tmp_path: Path) -> None:
    lines = "".join(f"nothing_{number} = 1\n" for number in range(25))
    told = problems_of(config=in_file(tmp_path, lines)).splitlines()
    assert len(told) == 21
    assert told[-1] == "and 5 more problems"


def test_keys_are_split_and_kept_out_of_every_message() -> None:
    settings, _ = load({}, {"OVERNIGHT_API_KEYS": "team=sk-first, sk-second"}, None)
    assert settings.api_keys == ("team=sk-first", "sk-second")
    message = problems_of(environ={"OVERNIGHT_API_KEYS": "sk-first,sk-first"})
    assert message == "OVERNIGHT_API_KEYS=***: entry 1 repeats a key"


def test_a_secret_has_no_flag() -> None:
    assert TABLE["api_keys"].flag is None
    assert TABLE["backend_api_key"].flag is None


def test_the_password_of_a_database_is_never_shown() -> None:
    url = "postgresql://user:secret@host/db"
    assert shown(TABLE["database_url"], url) == "postgresql://user:***@host/db"
    assert "secret" not in problems_of(environ={"OVERNIGHT_DATABASE_URL": "x://user:secret@host"})


@pytest.mark.parametrize(
    ("secret", "masked"),
    [("short", "***"), ("team=short", "team=***"), ("sk-0123456789abcdef", "***cdef")],
)
def test_a_masked_key_shows_its_end_only_when_it_is_long(secret: str, masked: str) -> None:
    assert mask(secret) == masked


@pytest.mark.parametrize(
    ("backend", "key"),
    [
        ("https://api.anthropic.com/", "sk-ant"),
        ("https://anthropic.com", "sk-ant"),
        ("https://api.anthropic.com.evil.test", None),
        ("https://evilanthropic.com", None),
        ("https://api.anthropic.com,https://evil.test", None),
        ("http://127.0.0.1:8000", None),
        ("simulator", None),
    ],
)
def test_the_key_for_anthropic_goes_only_to_anthropic(backend: str, key: str | None) -> None:
    settings, origins = load({"backend": backend}, {"ANTHROPIC_API_KEY": "sk-ant"}, None)
    assert settings.backend_api_key == key
    assert origins["backend_api_key"] == ("ANTHROPIC_API_KEY" if key else "default")


def test_an_own_key_for_the_backend_goes_before_that_of_anthropic() -> None:
    environ = {"ANTHROPIC_API_KEY": "sk-ant", "OVERNIGHT_BACKEND_API_KEY": "ours"}
    settings, _ = load({"backend": "https://api.anthropic.com"}, environ, None)
    assert settings.backend_api_key == "ours"


def test_a_url_keeps_no_trailing_slash() -> None:
    settings, _ = load({"public_url": "https://batch.example/"}, {}, None)
    assert settings.public_url == "https://batch.example"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.2", False), ("example.com", False),
    ],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
