"""Runs the backend on this machine without Label Studio, and asks it as Label Studio would."""

from __future__ import annotations

import base64
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from grounding.cli.supervisor import keep_running, running
from grounding.errors import EngineError
from grounding.settings import Settings

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}
START_SECONDS = 300.0


class BackendClient:
    """A client of a running backend at `url` that sends the requests of Label Studio."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=100, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def wait_ready(self, say: Callable[[str], None]) -> None:
        """Wait until the model is loaded; `say` is called with the reason for waiting.

        Raises `EngineError` if loading fails or takes longer than five minutes.
        """
        reason = "starting"
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            ready = self._readiness()
            if ready.get("ready"):
                return
            reason = str(ready.get("reason", reason))
            # Before a worker reports, the reason asks people to start one.
            say(reason if ready.get("workers") else "starting")
            if any(worker["phase"] == "failed" for worker in ready.get("workers", ())):
                raise EngineError(reason, hint="")
            time.sleep(0.2)
        raise EngineError(f"the model was not ready in five minutes: {reason}")

    def setup(self, label_config: str) -> str:
        """Return the model version for a labelling config."""
        body = {"project": "1.1", "schema": label_config}
        return str(self._post("/setup", body)["model_version"])

    def predict(
        self,
        tasks: Sequence[Mapping[str, Any]],
        label_config: str,
        context: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Return a prediction or `[]` per task; `context` is that of Label Studio's page."""
        params = {} if context is None else {"context": context}
        body = {"tasks": tasks, "project": "1.1", "label_config": label_config, "params": params}
        return list(self._post("/predict", body)["results"])

    def _readiness(self) -> dict[str, Any]:
        try:
            return dict(self._http.get("/ready").json())
        except httpx.TransportError:
            return {}

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._http.post(path, json=body)
        answer.raise_for_status()
        return dict(answer.json())


@contextmanager
def local_backend(**settings: Any) -> Iterator[BackendClient]:
    """Run queue, worker and web server on a free loopback port during the block."""
    with tempfile.TemporaryDirectory(prefix="grounding-") as folder:
        chosen = Settings.load(port=free_port(), data_dir=Path(folder), **settings)
        stopping = threading.Event()
        with running(chosen) as parts:
            keeper = threading.Thread(target=keep_running, args=(parts, stopping), daemon=True)
            keeper.start()
            try:
                with closing(BackendClient(f"http://{chosen.host}:{chosen.port}")) as backend:
                    yield backend
            finally:
                stopping.set()
                keeper.join()


def free_port() -> int:
    """Return a loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def data_uri(data: bytes, suffix: str) -> str:
    """Return the bytes of a file as a data URI; `suffix` is one of `MEDIA_TYPES`."""
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(data).decode()}"
