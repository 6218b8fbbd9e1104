"""Statements of the hot path: compiled once, then handed to the driver as they are."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Update


class Prepared:
    """A change whose values all come as parameters of types that drivers take as they are.

    SQLAlchemy would look up on each call what it has compiled, which costs more than the change.
    """

    def __init__(self, statement: Insert | Update) -> None:
        self._statement = statement
        # By dialect: the text, and the order of its parameters; None where they go by name.
        self._compiled: dict[str, tuple[str, list[str] | None]] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Make the change; give how many rows it changed."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        text, order = compiled
        given = dict(values) if order is None else tuple([values[name] for name in order])
        return connection.exec_driver_sql(text, given).rowcount

    def _compile(self, dialect: Dialect) -> tuple[str, list[str] | None]:
        compiled = self._statement.compile(dialect=dialect)
        return str(compiled), compiled.positiontup
