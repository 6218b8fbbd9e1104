"""Payloads in a directory: written once under a temporary name, durable, never changed.

All functions block; callers run them in threads.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from overnight.errors import ConfigInvalid

_TEMPORARY = ".partial"


class ObjectWriter:
    """One object in the making: durable and visible after `commit`, gone without it."""

    def __init__(self, path: Path) -> None:
        group = path.parent
        # A new group's name is made durable with its first object.
        self._is_new_group = not group.exists()
        group.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._partial = path.with_name(path.name + _TEMPORARY)
        self._file: IO[bytes] = open(self._partial, "w+b", buffering=0)  # noqa: SIM115
        self.size_bytes = 0

    def fileno(self) -> int:
        """Give the open file, for mapping what is written before the commit."""
        return self._file.fileno()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; a raw file may take less than it is given."""
        view = memoryview(data)
        self.size_bytes += len(view)
        while view:
            view = view[self._file.write(view) :]

    def sync(self) -> None:
        """Make what is written so far durable; a large object calls this as it grows."""
        os.fdatasync(self._file.fileno())

    def commit(self) -> None:
        """Make the object durable and visible under its name."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._partial, self._path)
        _sync_directory(self._path.parent)
        if self._is_new_group:
            _sync_directory(self._path.parent.parent)

    def abandon(self) -> None:
        """Drop what was written. Idempotent; after `commit` it does nothing."""
        if not self._file.closed:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()


class ObjectDirectory:
    """Objects by key; a key is `group/name`, and a group is deleted as a whole."""

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            # Prompts and results are for this user alone.
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = root / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigInvalid(
                f"the object directory {root} cannot be written: {error.strerror}",
                hint="name another with --data DIR, or give this user the right to write there",
            ) from error

    def writer(self, key: str) -> ObjectWriter:
        """Begin an object."""
        return ObjectWriter(self._root / key)

    def put(self, key: str, data: bytes) -> None:
        """Write a whole object; the same key and bytes again change nothing."""
        with self.writer(key) as writer:
            writer.write(data)
            writer.commit()

    def path(self, key: str) -> Path:
        """Give the file of an object, for mapping it into memory."""
        return self._root / key

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Read a part of an object. Raises: FileNotFoundError; EOFError when it is shorter."""
        with open(self._root / key, "rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise EOFError(f"{key}: {len(data)} bytes at {offset}, {length} wanted")
        return data

    def chunks(
        self, keys: Iterable[str], size: int, *, first: int | None = None
    ) -> Iterator[bytes]:
        """Read objects one behind the other in pieces of `size` bytes, or `first` at the beginning.

        Raises: FileNotFoundError.
        """
        wanted = first or size
        pieces: list[bytes] = []
        for key in keys:
            with open(self._root / key, "rb", buffering=0) as file:
                while piece := file.read(wanted):
                    pieces.append(piece)
                    wanted -= len(piece)
                    if not wanted:
                        yield b"".join(pieces)
                        pieces, wanted = [], size
        if pieces:
            yield b"".join(pieces)

    def delete(self, key: str) -> None:
        """Delete an object. Idempotent."""
        (self._root / key).unlink(missing_ok=True)

    def delete_group(self, group: str) -> None:
        """Delete all objects of a group. Idempotent."""
        path = self._root / group
        if path.exists():
            shutil.rmtree(path)
            _sync_directory(self._root)

    def groups(self) -> list[tuple[str, float]]:
        """List the groups with the time of their last change, in seconds since 1970."""
        found = []
        for entry in os.scandir(self._root):
            if entry.is_dir():
                found.append((entry.name, entry.stat().st_mtime))
        return found


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
