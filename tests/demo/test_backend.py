"""What the demo says while the backend starts."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from grounding.demo.backend import BackendClient
from tests.loopback import serving

STATES: list[dict[str, Any]] = [
    {"ready": False, "reason": "no worker is running yet. Start one", "workers": []},
    {"ready": False, "reason": "loading shapes", "workers": [{"phase": "loading"}]},
    {"ready": True, "reason": "ready", "workers": [{"phase": "ready"}]},
]


def test_a_worker_that_has_not_reported_yet_is_not_missed() -> None:
    """The demo starts one itself: nobody is to start another."""
    left = list(STATES)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(left.pop(0)).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    said: list[str] = []
    with serving(Server) as url:
        backend = BackendClient(url)
        backend.wait_ready(said.append)
        backend.close()
    assert said == ["starting", "loading shapes"]
