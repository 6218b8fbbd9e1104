"""nginx as the fastest upstream and file server there is: one process, in the foreground."""

import shutil
from pathlib import Path

_PLACES = ("/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx")
# nginx reads a word of its configuration into a buffer of 4 KiB.
_MAX_TEXT_BYTES = 4000

_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  default_type application/json;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ {location} }}
  }}
}}
"""


def find() -> str | None:
    """Give the path of nginx, where it is installed."""
    places = (shutil.which(place) for place in ("nginx", *_PLACES))
    return next((place for place in places if place), None)


def answering(nginx: str, folder: Path, port: int, message: bytes) -> list[str]:
    """Give the command of an nginx that answers everything with `message`."""
    text = message.decode()
    if len(message) > _MAX_TEXT_BYTES or "'" in text or "$" in text:
        raise ValueError(f"nginx answers texts of up to {_MAX_TEXT_BYTES} bytes without ' and $")
    return _command(nginx, folder, port, f"return 200 '{text}';")


def serving(nginx: str, folder: Path, port: int, root: Path) -> list[str]:
    """Give the command of an nginx that serves the files of `root`."""
    return _command(nginx, folder, port, f"root {root};")


def _command(nginx: str, folder: Path, port: int, location: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, location=location), encoding="utf-8")
    return [nginx, "-p", str(folder), "-c", str(config)]
