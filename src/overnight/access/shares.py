"""Weights of workspaces, which the settings give by name or id and dispatch needs by id."""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

from sqlalchemy.exc import DBAPIError

from overnight.access.keys import workspace_id
from overnight.model import WorkspaceId
from overnight.store import workspaces
from overnight.store.database import Database, reason

log = logging.getLogger(__name__)


class Shares:
    """Knows which workspace has a name now: it may be made, or renamed, at any time."""

    def __init__(
        self, *, database: Database, named: Mapping[str, float], sweep_interval_s: float
    ) -> None:
        """`named` gives weights by name or id; who is not named has weight 1."""
        # Changed in place: dispatch reads it for each request.
        self.weights: dict[WorkspaceId, float] = {}
        self._database = database
        self._named = named
        self._sweep_interval_s = sweep_interval_s

    async def run(self) -> None:
        """Look again and again until canceled."""
        while True:
            await asyncio.sleep(self._sweep_interval_s)
            try:
                await self.look()
            except DBAPIError as error:
                log.error("workspaces cannot be looked up by name: %s", reason(error))

    async def look(self) -> None:
        """Find the workspaces by their names."""
        ids = await self._database.read(partial(workspaces.ids, names=self._named))
        found = {ids.get(name) or _id(name): weight for name, weight in self._named.items()}
        self.weights.clear()
        self.weights.update(found)


def _id(text: str) -> WorkspaceId:
    """Give the id that is meant where no workspace has this name."""
    return WorkspaceId(text) if text.startswith("wrkspc_") else workspace_id(text)
