"""What every object store must do; the directory is the only one so far."""

import os
from pathlib import Path

import pytest

from overnight.errors import ConfigInvalid
from overnight.store.objects import ObjectDirectory


@pytest.fixture
def objects(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(tmp_path / "objects")


def whole(objects: ObjectDirectory, key: str) -> bytes:
    return b"".join(objects.chunks([key], 3))


def test_an_object_is_read_as_it_was_put(objects: ObjectDirectory) -> None:
    objects.put("group/name", b"0123456789")
    assert whole(objects, "group/name") == b"0123456789"
    assert objects.read_range("group/name", 2, 5) == b"23456"


def test_an_object_is_not_there_before_its_commit(objects: ObjectDirectory) -> None:
    with objects.writer("group/name") as writer:
        writer.write(b"0123")
        writer.sync()
        writer.write(memoryview(b"456"))
        assert os.pread(writer.fileno(), 100, 0) == b"0123456"
        assert not objects.path("group/name").exists()
        writer.commit()
    assert whole(objects, "group/name") == b"0123456"
    assert writer.size_bytes == 7


def test_an_abandoned_object_leaves_nothing(objects: ObjectDirectory) -> None:
    with pytest.raises(ZeroDivisionError), objects.writer("group/name") as writer:
        writer.write(b"0123")
        raise ZeroDivisionError
    assert not list(objects.path("group").iterdir())
    writer.abandon()


def test_abandoning_after_the_commit_keeps_the_object(objects: ObjectDirectory) -> None:
    writer = objects.writer("group/name")
    writer.write(b"0123")
    writer.commit()
    writer.abandon()
    assert whole(objects, "group/name") == b"0123"


def test_the_same_object_may_be_put_twice(objects: ObjectDirectory) -> None:
    for _ in range(2):
        objects.put("group/name", b"0123")
    assert whole(objects, "group/name") == b"0123"


def test_an_empty_object_has_no_chunks(objects: ObjectDirectory) -> None:
    objects.put("group/name", b"")
    assert list(objects.chunks(["group/name"], 3)) == []


def test_chunks_reach_over_the_ends_of_objects(objects: ObjectDirectory) -> None:
    contents = [b"01234", b"5", b"", b"6789abcdef"]
    keys = [f"group/{number}" for number in range(len(contents))]
    for key, content in zip(keys, contents, strict=True):
        objects.put(key, content)
    assert list(objects.chunks(keys, 4, first=1)) == [b"0", b"1234", b"5678", b"9abc", b"def"]


def test_a_range_beyond_the_end_is_an_error(objects: ObjectDirectory) -> None:
    objects.put("group/name", b"0123")
    with pytest.raises(EOFError, match="group/name: 2 bytes at 2, 3 wanted"):
        objects.read_range("group/name", 2, 3)


def test_an_absent_object_is_an_error(objects: ObjectDirectory) -> None:
    with pytest.raises(FileNotFoundError):
        objects.read_range("group/name", 0, 1)
    with pytest.raises(FileNotFoundError):
        whole(objects, "group/name")


def test_objects_and_groups_are_deleted_without_asking_twice(objects: ObjectDirectory) -> None:
    objects.put("group/one", b"1")
    objects.put("group/two", b"2")
    objects.put("other/one", b"3")
    for _ in range(2):
        objects.delete("group/one")
        assert whole(objects, "group/two") == b"2"
    assert {name for name, _ in objects.groups()} == {"group", "other"}
    for _ in range(2):
        objects.delete_group("group")
    assert {name for name, _ in objects.groups()} == {"other"}


def test_a_directory_that_cannot_be_made_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigInvalid, match="cannot be written") as caught:
        ObjectDirectory(tmp_path / "file" / "objects")
    assert caught.value.hint is not None
