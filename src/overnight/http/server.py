"""The HTTP server: how uvicorn is set up for this service, in one place."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from litestar.types import ASGIApp

from overnight.http.certificate import Certificate
from overnight.http.connection import Connections, Manners
from overnight.settings import Settings

# Clients drop idle connections after 4 to 5 s; ours must live longer than theirs.
_KEEP_ALIVE_S = 75


class Server(uvicorn.Server):
    """A server that leaves signals to its caller, who has more to stop than HTTP."""

    def __init__(
        self, app: ASGIApp, settings: Settings, certificate: Certificate | None = None
    ) -> None:
        manners = Manners(
            max_connections=settings.max_connections,
            timeout_s=settings.client_timeout_s,
            min_bytes_per_s=settings.client_min_bytes_per_s,
        )
        super().__init__(
            uvicorn.Config(
                cast(Any, app),
                lifespan="off",
                log_config=None,
                # Below are the faults of clients, which must not fill the log.
                log_level="error",
                access_log=False,
                http=cast(Any, Connections(manners)),
                ws="none",
                server_header=False,
                # `base_url` reads the headers of proxies itself.
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s)),
                ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
