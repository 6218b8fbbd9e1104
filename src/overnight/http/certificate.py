"""The certificate that the service shows: read, tried out, and read again when its files change."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from overnight.errors import ConfigInvalid
from overnight.logs import Logger

# Renewals are a matter of days; looking costs two calls of the system.
_LOOK_EVERY_S = 1.0
_VERIFY_EXPIRED = 10

log = Logger("certificate")


class Files(NamedTuple):
    """Where it lies: certificates in PEM, the service's own first, and its key."""

    certificate: Path
    key: Path
    # Of an encrypted key.
    password: str | None = None


class Certificate:
    """Holds the TLS context of the server; connections made later show what was read last."""

    def __init__(self, files: Files) -> None:
        """Raises: ConfigInvalid when it cannot be read, does not fit its key, or has expired."""
        self.files = files
        self._seen = _state(files)
        self.context, self.until = _tried(files)

    async def run(self) -> None:
        """Follow the files. What cannot be used is logged, and the last good one shown on."""
        last = self._seen
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            before, last = last, _state(self.files)
            # Certificate and key are rarely replaced at once: wait until nothing changes any more.
            if last == self._seen or last != before:
                continue
            self._seen = last
            try:
                _, self.until = await asyncio.to_thread(_tried, self.files)
                _load(self.context, self.files)
            except ConfigInvalid as error:
                log.error("certificate not replaced", reason=error.message)
            else:
                log.info("certificate replaced", until=f"{self.until:%Y-%m-%d}")


def _state(files: Files) -> list[object]:
    """Tell one state of the files from another."""
    found: list[object] = []
    for path in (files.certificate, files.key):
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return found


def _tried(files: Files) -> tuple[ssl.SSLContext, datetime]:
    """Make a context, and shake hands with it: only that proves the dates and the key.

    Raises: ConfigInvalid.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate itself is trusted here, whoever has issued it.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(files.certificate)
    except OSError as error:
        raise _unusable("tls_cert", files.certificate, error, "a certificate") from None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    server.set_alpn_protocols(["http/1.1"])
    _load(server, files)
    try:
        shown = _handshake(server, client)
    except ssl.SSLCertVerificationError as error:
        what = "it has expired" if error.verify_code == _VERIFY_EXPIRED else error.verify_message
        raise ConfigInvalid(f"tls_cert {files.certificate}: {what}", hint="renew it") from None
    until = ssl.cert_time_to_seconds(shown["notAfter"])
    return server, datetime.fromtimestamp(until, UTC)


def _load(context: ssl.SSLContext, files: Files) -> None:
    is_encrypted = False

    def password() -> str:  # without it OpenSSL would ask on the terminal
        nonlocal is_encrypted
        is_encrypted = True
        return files.password or ""

    try:
        context.load_cert_chain(files.certificate, files.key, password)
    except OSError as error:
        key = f"tls_key {files.key}"
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigInvalid(
                f"{key}: not the key of the certificate {files.certificate}",
                hint="give the key with which this certificate was asked for",
            ) from None
        if is_encrypted:
            given = "is wrong" if files.password else "is not set"
            raise ConfigInvalid(
                f"{key}: encrypted, and tls_key_password {given}",
                hint="set OVERNIGHT_TLS_KEY_PASSWORD",
            ) from None
        raise _unusable("tls_key", files.key, error, "a private key") from None


def _unusable(name: str, path: Path, error: OSError, what: str) -> ConfigInvalid:
    if isinstance(error, ssl.SSLError):
        return ConfigInvalid(f"{name} {path}: not {what} in PEM", hint="PEM is text: -----BEGIN …")
    return ConfigInvalid(f"{name} {path}: {error.strerror}", hint="the service must read it")


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Connect the two in memory; give the certificate that the client saw."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    listening = server.wrap_bio(there, back, server_side=True)
    calling = client.wrap_bio(back, there)
    steps: list[Callable[[], None]] = [calling.do_handshake, listening.do_handshake]
    while steps:
        step = steps.pop(0)
        try:
            step()
        except ssl.SSLWantReadError:
            steps.append(step)
    return calling.getpeercert() or {}
