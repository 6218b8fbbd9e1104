"""nginx as the fastest upstream and file server there is: one process, in the foreground."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from bench.body import DEFAULT_PATH

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
    {locations}
  }}
}}
"""


def find() -> str | None:
    """Give the path of nginx, where it is installed."""
    places = (shutil.which(place) for place in ("nginx", *_PLACES))
    return next((place for place in places if place), None)


def answering(nginx: str, folder: Path, port: int, answers: Mapping[str, bytes]) -> list[str]:
    """Give the command of an nginx that answers by path; all other paths as DEFAULT_PATH."""
    locations = [_returning(f"= {path}", answer) for path, answer in answers.items()]
    locations.append(_returning("/", answers[DEFAULT_PATH]))
    return _command(nginx, folder, port, locations)


def serving(nginx: str, folder: Path, port: int, root: Path) -> list[str]:
    """Give the command of an nginx that serves the files of `root`."""
    return _command(nginx, folder, port, [f"location / {{ root {root}; }}"])


def _returning(place: str, answer: bytes) -> str:
    text = answer.decode()
    if len(answer) > _MAX_TEXT_BYTES or "'" in text or "$" in text:
        raise ValueError(f"nginx answers texts of up to {_MAX_TEXT_BYTES} bytes without ' and $")
    return f"location {place} {{ return 200 '{text}'; }}"


def _command(nginx: str, folder: Path, port: int, locations: list[str]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    text = _CONFIG.format(folder=folder, port=port, locations="\n    ".join(locations))
    config.write_text(text, encoding="utf-8")
    return [nginx, "-p", str(folder), "-c", str(config)]
