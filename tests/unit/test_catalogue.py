"""The catalogue of known models."""

from datetime import UTC, datetime
from typing import get_args

import pytest
from anthropic.types import ModelParam

from overnight.catalogue import Catalogue, KnownModel, known_models

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def known(name: str) -> KnownModel:
    found = known_models().find(name)
    assert found is not None, name
    return found


def test_every_model_that_the_official_sdk_names_is_known() -> None:
    literal = next(part for part in get_args(ModelParam) if get_args(part))
    names = get_args(literal)
    assert len(names) > 20
    assert [name for name in names if known_models().find(name) is None] == []


@pytest.mark.parametrize(
    ("alias", "model_id"),
    [
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("claude-sonnet-4-6", "claude-sonnet-4-6"),
        ("claude-opus-4-7", "claude-opus-4-7"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ],
)
def test_an_alias_finds_the_model_by_its_full_id(alias: str, model_id: str) -> None:
    assert known(alias).model.id == model_id


def test_a_name_that_nobody_gave_is_not_found_but_near_ones_are_offered() -> None:
    assert known_models().find("claude-haiku-45") is None
    assert known_models().near("claude-haiku-45")[0] == "claude-haiku-4-5"
    assert known_models().near("qwen") == []


def test_models_stand_newest_first() -> None:
    days = [entry.model.created_at for entry in known_models() if entry.model.created_at != EPOCH]
    assert days == sorted(days, reverse=True)


def test_every_active_model_but_the_two_newest_has_its_limits() -> None:
    unknown = {
        entry.id
        for entry in known_models()
        if entry.model.lifecycle == "active"
        and None in (entry.model.max_tokens, entry.min_cacheable_tokens)
    }
    assert unknown == {"claude-fable-5-2", "claude-mythos-5-2"}


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("claude-opus-5", 512),
        ("claude-fable-5", 512),
        ("claude-opus-4-8", 1024),
        ("claude-sonnet-4-6", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-haiku-4-5", 4096),
    ],
)
def test_the_shortest_cacheable_prefix_is_that_of_the_documentation(name: str, tokens: int) -> None:
    assert known(name).min_cacheable_tokens == tokens


def test_no_model_since_4_6_accepts_a_prefilled_answer() -> None:
    accepting = {entry.id for entry in known_models() if entry.prefill}
    assert "claude-haiku-4-5-20251001" in accepting
    assert not accepting & {"claude-sonnet-4-6", "claude-opus-4-6", "claude-opus-4-7"}


def test_a_name_may_stand_only_once() -> None:
    twice = [known("claude-haiku-4-5"), known("claude-haiku-4-5")]
    with pytest.raises(AssertionError, match="claude-haiku-4-5-20251001 stands twice"):
        Catalogue(twice)
