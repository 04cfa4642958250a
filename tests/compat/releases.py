"""A deployment whose parts may be of the previous release, on one Redis and one Label Studio."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grounding.cli.supervisor import command
from grounding.demo.backend import free_port
from tests.faults.label_studio import TOKEN, Studio
from tests.faults.processes import ROOT, Process
from tests.faults.rig import Rig, Web, until


class Releases(Rig):
    """The deployment; its own `worker` and `web` start parts of this release."""

    def __init__(self, folder: Path, previous: Path, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self._previous = previous

    def old_worker(self) -> Process:
        """Start a worker of the previous release, and wait until it is ready."""
        module = [sys.executable, "-m", "tests.faults.worker"]
        part = self._part([*module, str(self._calls), str(self._seconds)], {}, self._previous)
        until(self._has_old_worker, 30)
        return part

    def old_web(self, **settings: Any) -> Web:
        """Start a web server of the previous release; return it when it answers."""
        port = free_port()
        python, *rest = command("server")
        server = [python, *(word.replace(str(ROOT), str(self._previous)) for word in rest)]
        part = self._part(server, settings | {"port": port}, self._previous)
        web = Web(part, f"http://127.0.0.1:{port}")
        until(web.is_up, 20)
        return web

    def end(self, *parts: Process) -> None:
        """Ask parts to end, as a rolling upgrade does, and see them gone."""
        for part in parts:
            part.terminate()
        for part in parts:
            part.wait(30)

    def _has_old_worker(self) -> bool:
        names = self.redis.smembers("g:workers")
        texts = [self.redis.get(b"g:worker:" + name) for name in names]
        return any(text and b'"ready"' in text for text in texts)


@contextmanager
def releases(folder: Path, previous: Path, studio: Studio, **settings: Any) -> Iterator[Releases]:
    """Run a deployment that delivers to `studio` around the block; every part is the caller's."""
    way = {"label_studio_url": studio.url, "label_studio_api_key": TOKEN}
    running = Releases(folder, previous, **way | settings)
    try:
        running.start_redis()
        yield running
        running.check_counters()
    finally:
        running.close()
