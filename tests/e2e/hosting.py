"""A loopback host of pictures, and our backend as `up` starts it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from grounding.demo.backend import free_port
from tests import loopback

from .client import Client
from .processes import Server, serving

UP = (sys.executable, "-m", "grounding", "up")
READY_S = 600
"""The worker imports torch and loads the checkpoint; a busy machine takes its time."""


class _Pictures(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        """Let the labelling page, which is another origin, draw on the picture."""
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the test report is what one wants to read."""


@contextmanager
def picture_host(folder: Path) -> Iterator[str]:
    """Serve the files of `folder` over http; yield the origin."""
    with loopback.serving(partial(_Pictures, directory=str(folder))) as origin:
        yield origin


@contextmanager
def backend(
    folder: Path, studio: Client, origin: str, *, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run our backend with the shapes checkpoint, allowed to fetch from `origin`; yield it ready.

    It gets a personal access token, the only kind that Label Studio hands out by default, unless
    `settings` say otherwise.
    """
    port, log = free_port(), folder / "backend.log"
    url = f"http://127.0.0.1:{port}"
    usual = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.personal_access_token(),
        "GROUNDING_ALLOWED_ORIGINS": origin,
        "GROUNDING_DATA_DIR": str(folder / "backend"),
    }
    env = {**usual, **(settings or {})}
    print(f"starting the backend at {url}, log {log}", flush=True)
    command = [*UP, "--port", str(port)]
    with serving("the backend", url, command, log=log, env=env) as server:
        server.wait_until_ok("/ready", READY_S)
        yield server
