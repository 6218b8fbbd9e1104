"""A database that fails when a test says so."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from overnight.store.database import Database

Answer = TypeVar("Answer")


class FailingDatabase(Database):
    """A database of which chosen changes fail: once, or as long as it is away."""

    def __init__(self, inner: Database) -> None:
        self.presence = inner.presence
        self._inner = inner
        # Names of functions: the next change of each is made, but its answer is lost.
        self.lose_answer_of: set[str] = set()
        # The next question or change of each is refused.
        self.refuse: set[str] = set()
        self.away = False
        # Questions are answered and changes refused, as on a full disk.
        self.full = False

    async def read(self, question: Callable[[Connection], Answer]) -> Answer:
        self._refuse(question)
        return await self._inner.read(question)

    async def write(self, change: Callable[[Connection], Answer]) -> Answer:
        if self.full:
            raise _lost()
        self._refuse(change)
        answer = await self._inner.write(change)
        if _name(change) in self.lose_answer_of:
            self.lose_answer_of.discard(_name(change))
            raise _lost()
        return answer

    async def close(self) -> None:
        await self._inner.close()

    def _refuse(self, function: Callable[[Connection], object]) -> None:
        name = _name(function)
        if self.away or name in self.refuse:
            self.refuse.discard(name)
            raise _lost()


def _name(function: Callable[[Connection], object]) -> str:
    return getattr(function, "func", function).__qualname__


def _lost() -> OperationalError:
    return OperationalError("statement", {}, Exception("server closed the connection"))
