"""What is known of a model before llama.cpp loads it, and how much of the machine it gets."""

from pathlib import Path

import msgspec
import pytest
from tests.support.gguf import write_tiny_model

from overnight.backends.llama import Asked, LlamaBackend
from overnight.backends.llama.gguf import read_gguf
from overnight.backends.llama.sizing import Machine, machine, sizing
from overnight.errors import ConfigInvalid
from overnight.settings import Settings, load

MACHINE = Machine(cores=6, memory_bytes=64 << 30)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf", context_tokens=4_096)


def test_the_head_of_the_file_tells_context_and_cache_per_token(model: Path) -> None:
    found = read_gguf(model)
    assert found.context_tokens == 4_096
    # Two layers, keys and values of 32 numbers, two bytes each.
    assert found.kv_bytes_per_token == 2 * 2 * 32 * 2
    assert found.size_bytes == model.stat().st_size


@pytest.mark.parametrize("keep", [0, 3, 4, 24, 100])
def test_a_file_that_is_cut_off_is_no_gguf(model: Path, tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:keep])
    with pytest.raises(ConfigInvalid, match=r"cut\.gguf: this is not a GGUF file"):
        read_gguf(cut)


def test_another_file_is_no_gguf(tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    other.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(ConfigInvalid, match=r"model\.safetensors: this is not a GGUF file"):
        LlamaBackend([str(other)])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"gone\.gguf: No such file or directory"):
        LlamaBackend([f"m={tmp_path / 'gone.gguf'}"])


def test_two_models_of_one_name_are_refused(model: Path) -> None:
    with pytest.raises(ConfigInvalid, match="two models are called tiny") as refused:
        LlamaBackend([str(model), str(model)])
    assert refused.value.hint == "give them names: --gguf NAME=PATH"


def test_without_the_wheel_the_command_that_installs_it_is_told(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xllamacpp", None)
    with pytest.raises(ConfigInvalid, match=r"llama\.cpp is not installed") as refused:
        LlamaBackend([str(model)])
    assert refused.value.hint == "pip install 'overnight[llama]'"


def test_what_is_asked_for_is_given(model: Path) -> None:
    asked = Asked(slots=5, context_tokens=999, threads=3, gpu_layers=7, prompt_cache_mib=0)
    given = sizing(read_gguf(model), asked, MACHINE, models=1)
    assert (given.slots, given.context_tokens, given.threads) == (5, 999, 3)
    assert (given.gpu_layers, given.prompt_cache_mib) == (7, 0)


def test_a_model_gets_the_cores_and_the_context_it_was_trained_for(model: Path) -> None:
    given = sizing(read_gguf(model), Asked(), MACHINE, models=1)
    assert (given.threads, given.context_tokens, given.prompt_cache_mib) == (6, 4_096, 8_192)


def test_a_large_model_on_a_small_machine_gets_less_context(model: Path) -> None:
    large = msgspec.structs.replace(
        read_gguf(model), size_bytes=6 << 30, context_tokens=131_072, kv_bytes_per_token=128 << 10
    )
    small = Machine(cores=2, memory_bytes=8 << 30)
    given = sizing(large, Asked(), small, models=1)
    # Half of the 2 GiB that are left, for two slots.
    assert given.context_tokens == 4_096
    assert given.prompt_cache_mib == 512
    assert sizing(large, Asked(), small, models=2).context_tokens == 2_048


def test_this_machine_has_a_core_and_memory() -> None:
    assert machine().cores >= 1
    assert machine().memory_bytes > 0


def gguf_setting(**flags: object) -> Settings:
    return load(flags, {}, None)[0]


def test_models_come_from_flags_from_the_environment_and_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gguf_setting(gguf=["a.gguf", "small=b.gguf"]).gguf == ("a.gguf", "small=b.gguf")
    assert load({}, {"OVERNIGHT_GGUF": "a.gguf,b=/c.gguf"}, None)[0].gguf == ("a.gguf", "b=/c.gguf")
    file = tmp_path / "folder" / "overnight.toml"
    file.parent.mkdir()
    file.write_text('gguf = ["small=m.gguf"]\n', encoding="utf-8")
    assert load({}, {}, file)[0].gguf == (f"small={file.parent / 'm.gguf'}",)


@pytest.mark.parametrize("given", ["", "name=", "two words=m.gguf"])
def test_a_model_without_a_path_or_with_an_odd_name_is_refused(given: str) -> None:
    with pytest.raises(ConfigInvalid, match="entry 0 must be `path` or `name=path`"):
        gguf_setting(gguf=[given])


def test_one_service_has_one_backend() -> None:
    with pytest.raises(ConfigInvalid, match="only one of them can answer"):
        gguf_setting(gguf=["m.gguf"], backend="http://127.0.0.1:8000")
