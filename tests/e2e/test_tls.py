"""HTTPS by certificate files, with the clients that people have."""

import datetime
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import pytest
import trustme
from tests.support.process import Server, server
from tests.support.waiting import until

from overnight.errors import ConfigInvalid
from overnight.http.certificate import Certificate, Files

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Issued:
    """A folder with a CA's certificate, and a certificate with its key that may be replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.cert, self.key = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(self.ca))
        self.issue()

    def issue(self, *, since: int = -1, until: int = 90) -> None:
        """Issue one that is good from and to so many days from now."""
        issued = self._ca.issue_cert(
            "localhost", "127.0.0.1", not_before=NOW + since * DAY, not_after=NOW + until * DAY
        )
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.key))

    @property
    def files(self) -> Files:
        return Files(self.cert, self.key)

    @property
    def options(self) -> tuple[str, ...]:
        return "--tls-cert", str(self.cert), "--tls-key", str(self.key)

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    return Issued(tmp_path)


@pytest.fixture
async def served(issued: Issued) -> AsyncIterator[Server]:
    async with server(issued.folder / "data", *issued.options) as running:
        yield running


def test_everything_about_it_is_checked_at_the_start(issued: Issued) -> None:
    files = issued.files
    good = Certificate(files)
    assert good.until.date() == (NOW + 90 * DAY).date()
    assert good.context.minimum_version == ssl.TLSVersion.TLSv1_2
    both = issued.folder / "both.pem"
    both.write_bytes(issued.key.read_bytes() + issued.cert.read_bytes())
    Certificate(Files(both, both))
    encrypted = issued.folder / "encrypted.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", issued.key, "-aes128", "-passout", "pass:open", "-out",
         encrypted],
        check=True,
    )  # fmt: skip
    Certificate(Files(issued.cert, encrypted, "open"))
    nowhere = issued.folder / "nowhere.pem"
    for wrong, said in (
        (Files(nowhere, files.key), "tls_cert {}/nowhere.pem: No such file or directory"),
        (Files(files.certificate, nowhere), "tls_key {}/nowhere.pem: No such file or directory"),
        (Files(files.key, files.key), "tls_cert {}/key.pem: not a certificate in PEM"),
        (Files(issued.cert, issued.cert), "tls_key {}/cert.pem: not a private key in PEM"),
        (Files(issued.ca, files.key), "tls_key {0}/key.pem: not the key of the certificate"),
        (Files(files.certificate, encrypted), "encrypted, and tls_key_password is not set"),
        (Files(files.certificate, encrypted, "x"), "encrypted, and tls_key_password is wrong"),
    ):
        with pytest.raises(ConfigInvalid) as error:
            Certificate(wrong)
        assert said.format(issued.folder) in error.value.message


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [(-9, -1, "it has expired"), (1, 9, "certificate is not yet valid")],
)
def test_it_must_be_good_today(issued: Issued, since: int, until: int, said: str) -> None:
    issued.issue(since=since, until=until)
    with pytest.raises(ConfigInvalid, match=said):
        Certificate(issued.files)


async def test_an_sdk_and_the_command_line_speak_https(issued: Issued, served: Server) -> None:
    assert served.base_url.startswith("https://")
    day = NOW + 90 * DAY
    assert f"certificate good until {day:%Y-%m-%d}" in served.output
    trusting = anthropic.DefaultAsyncHttpxClient(verify=issued.client())
    async with anthropic.AsyncAnthropic(
        base_url=served.base_url, api_key="not-needed", http_client=trusting
    ) as client:
        page = await client.messages.batches.list()
    assert page.data == []
    for environ, code, said in (
        ({"SSL_CERT_FILE": str(issued.ca)}, 0, "no batches"),
        ({}, 5, "SSL_CERT_FILE=ca.pem"),
    ):
        listed = subprocess.run(
            [sys.executable, "-c", "import sys; from overnight.cli import main; sys.exit(main())",
             "batches", "list", "--base-url", served.base_url],
            env=environ, capture_output=True, text=True,
        )  # fmt: skip
        assert (listed.returncode, said in listed.stderr + listed.stdout) == (code, True), listed


async def test_a_renewed_certificate_is_shown_without_a_restart(
    issued: Issued, served: Server
) -> None:
    first = shown(served, issued)
    issued.issue(until=60)

    async def is_another() -> bool:
        return shown(served, issued) != first

    await until(is_another, what="the new certificate")
    second = shown(served, issued)
    told = served.output.count("certificate not replaced")
    issued.key.write_text("broken")

    async def is_told() -> bool:
        return served.output.count("certificate not replaced") > told

    await until(is_told, what="a line that tells of it")
    assert shown(served, issued) == second


def shown(served: Server, issued: Issued) -> str:
    """Connect as a client that trusts the CA; give the number of the certificate."""
    port = int(served.base_url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        issued.client().wrap_socket(plain, server_hostname="localhost") as opened,
    ):
        certificate = opened.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])
