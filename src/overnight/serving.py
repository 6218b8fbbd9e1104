"""Serve: listen, say what runs, and go on until a signal comes or a part ends by a defect."""

import asyncio
import gc
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from overnight import __version__, logs, wiring
from overnight.app import running
from overnight.errors import ConfigInvalid
from overnight.http.certificate import Certificate, Files
from overnight.http.server import Server
from overnight.logs import Logger
from overnight.settings import Settings

# The event loop shares the interpreter with threads that write and plan: a thread that has
# something to do waits this long for its turn instead of the default 5 ms.
_SWITCH_INTERVAL_S = 0.0005
# Objects made and not yet freed after which the collector looks for cycles among them; a batch
# makes tens of thousands that only wait for their turn.
_COLLECT_AFTER = 20_000
_THREADS = 32
# Open at a time besides connections of clients: to backends and the database, objects, logs.
_OTHER_FILES = 4_096 + 256

log = Logger("serving")


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain: running requests get their time.

    Raises: OvernightError for whatever a user can act on: the address, the data directory, the
    database, the configuration.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.get_running_loop().set_exception_handler(logs.report_to_log)
    # The default grows with the processors; here threads mostly wait for the disk.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    certificate = None
    if settings.tls_cert and settings.tls_key:
        files = Files(settings.tls_cert, settings.tls_key, settings.tls_key_password)
        certificate = await asyncio.to_thread(Certificate, files)
    _allow_open_files(settings.max_connections)
    listener = _listen(settings.host, settings.port)
    with listener:
        async with running(settings) as service:
            server = Server(service.http, settings, certificate)
            if certificate is not None:
                service.tasks.add(asyncio.create_task(certificate.run()))
            # What was made so far stays: the collector need not go through it again and again.
            gc.freeze()
            gc.set_threshold(_COLLECT_AFTER)
            stop = _stop_signal()
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            is_open = await service.keyring.is_open()
            port = listener.getsockname()[1]
            until = certificate.until if certificate else None
            told = greeting(settings, port, is_open=is_open, tls_until=until)
            print(told, file=sys.stderr, flush=True)
            stopped = asyncio.create_task(_until(stop))
            ended = {stopped, serving, *service.tasks}
            done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            service.wakes.closing.set()
            server.should_exit = True
            if service.worker is not None:
                await service.worker.drain(settings.drain_timeout_s)
            await serving
            for task in done:
                # A part that ended by itself ended by a defect: raise it.
                task.result()


def greeting(
    settings: Settings, port: int, *, is_open: bool, tls_until: datetime | None = None
) -> str:
    """Say in plain words what runs, who answers, and how to point an SDK at it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if tls_until else "http"
    url = settings.public_url or f"{scheme}://{host}:{port}"
    lines = [
        f"Overnight {__version__} listens on {url}",
        f"  answers  {_who_answers(settings)}",
        f"  data     {settings.data.resolve()}"
        + (" (SQLite)" if settings.database_url is None else " (objects), PostgreSQL (state)"),
        "  keys     none needed: whoever reaches this address may call"
        if is_open
        else f"  keys     needed; {len(settings.api_keys)} in the settings",
        *([f"  TLS      certificate good until {tls_until:%Y-%m-%d}"] if tls_until else []),
        "",
        "Point an SDK at it:",
        f"  export ANTHROPIC_BASE_URL={url}",
        "  export ANTHROPIC_API_KEY=" + ("not-needed" if is_open else "your-key"),
    ]
    return "\n".join(lines)


def _who_answers(settings: Settings) -> str:
    if settings.routing:
        return f"from {', '.join(wiring.fleet_of(settings).backends)}, as {settings.routing} says"
    if settings.gguf:
        return f"from llama.cpp on this machine: {', '.join(settings.gguf)}"
    if settings.backend == "simulator":
        return "SIMULATED: no model runs; --backend URL sends requests to a real one"
    return f"from {settings.backend}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigInvalid(
            f"cannot listen on {host}:{port}: {reason}",
            hint="is another server running there? --port 0 takes a free port",
        ) from error
    return listener


def _allow_open_files(max_connections: int) -> None:
    """Raise the limit of this process to what its connections need, as far as the system lets."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning("few open files allowed", at_most=hard, wanted=wanted)
        wanted = hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until(event: asyncio.Event) -> None:
    await event.wait()
