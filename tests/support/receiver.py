"""A receiver of webhooks as a program: verifies with the official SDK, keeps what it has seen.

Run as `python -m tests.support.receiver FOLDER`. It answers 503 as long as there is no file
`secret` in the folder, 400 to what does not verify, and appends each event that does to `events`,
on disk before it answers 200. While a file `hang` is there it answers nothing.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
from anthropic import Anthropic
from standardwebhooks import WebhookVerificationError


def command(folder: Path) -> list[str]:
    """Give the command that runs a receiver on a folder."""
    return [sys.executable, "-m", "tests.support.receiver", str(folder)]


class Handler(BaseHTTPRequestHandler):
    folder: Path
    client = Anthropic(api_key="none")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        (self.folder / "asked").touch()
        while (self.folder / "hang").exists():
            time.sleep(0.01)
        status = self._status(body)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def _status(self, body: str) -> int:
        secret = self.folder / "secret"
        if not secret.exists():
            return 503
        try:
            event = self.client.beta.webhooks.unwrap(
                body, headers=dict(self.headers), key=secret.read_text(encoding="ascii")
            )
        except WebhookVerificationError as error:
            print(f"not verified: {error}", flush=True)
            return 400
        seen = {"id": event.id, "type": event.data.type, "batch": event.data.id}
        with (self.folder / "events").open("ab") as file:
            file.write(msgspec.json.encode(seen) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return 200

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def main() -> None:
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
