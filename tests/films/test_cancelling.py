"""What nobody wants any more ends in a real worker within seconds, whatever holds it.

Whoever cancels does it as in life: at the operator's page, by `prelabel --cancel`, by asking
something else, or by waiting no longer. The worker has one slot of each kind, which the next film
takes, and afterwards neither a process nor a temporary file of the one before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.serving import make_server

from grounding.jobs.heartbeat import worker_statuses
from grounding.jobs.keys import text
from grounding.jobs.operating.overview import describe_job
from grounding.jobs.store import PENDING, JobStore
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmReader
from grounding.media.films.sampling import Sampling
from grounding.media.local_files import Folder
from grounding.media.memory import DecodeBudget, HeldBudget
from grounding.pipeline import WorkerContext, predict
from grounding.tasks import Task
from grounding.waiting import Unwanted
from tests.cli.conftest import command, studio
from tests.cli.running import Commands
from tests.cli.studio import Studio
from tests.faults.rig import until
from tests.films.watching import scene, uri, watcher
from tests.media.films.holding import heavy_film
from tests.media.hosts import answer, dripping, host
from tests.serving import CONFIG, TALKING, Start, request, typed
from tests.web.operator.test_operator_page import BROWSER, token_of

__all__ = ["command", "studio"]

FILM = CONFIG.replace("Image name", "Video name").replace("RectangleLabels", "TimelineLabels")
ASKED_FILM = TALKING.replace(CONFIG.removesuffix("</View>"), FILM.removesuffix("</View>"))
NEXT = uri(scene({"red": [(1, 2)]}, 4, fps=5))
PROJECT, USER = "7.1795341600", "a@b.co"
PROMISED_S = 5.0
WAIT_S = 20.0
DEADLINE_S = 4.0
HEAD = answer(200, "Content-Length: 1000000")
HOSTS = {"silent": dripping(HEAD, b"", 0.1), "dripping": dripping(HEAD, b"x", 1)}


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve an app on loopback around the block; yields its port."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield str(server.server_port)
    server.shutdown()
    thread.join()
    server.server_close()


class Rig:
    """A web server and a worker with one slot of each kind, and what users do there."""

    def __init__(
        self, client: FlaskClient, redis: Redis, pid: int, command: Commands, studio: Studio
    ) -> None:
        self.store, self._client, self._pid = JobStore(redis), client, pid
        self._command, self._studio = command, studio

    def ask(self, address: str, config: str = ASKED_FILM, user: str = USER) -> str:
        """Ask as an annotator does, about the same task each time; return the job's key."""
        asked = request(5, label_config=config, project=PROJECT, params=typed("red"))
        asked["tasks"][0] |= {"drafts": [{"user": user, "result": []}]}
        return self._post(asked, address)

    def retrieve(self, address: str) -> str:
        """Ask as a Retrieve does; return the job's key."""
        asked = request(6, 7, label_config=FILM, project=PROJECT)
        del asked["tasks"][1]["data"]  # one task alone would be a page that opens
        return self._post(asked, address)

    def retrieve_both(self, address: str) -> str:
        """Ask as a Retrieve does about a picture and a film at one address."""
        film = FILM.replace('name="image"', 'name="film"').replace(
            'toName="image"', 'toName="film"'
        )
        both = CONFIG.removesuffix("</View>") + film.removeprefix("<View>").replace("box", "when")
        asked = request(6, 7, label_config=both, project=PROJECT)
        del asked["tasks"][1]["data"]
        return self._post(asked, address)

    def _post(self, body: dict[str, Any], address: str) -> str:
        before = self._pending()
        body["tasks"][0]["data"] = {"image": address}
        post = {"target": self._client.post, "args": ("/predict",), "kwargs": {"json": body}}
        threading.Thread(**post, daemon=True).start()
        return until(lambda: self._pending() - before, WAIT_S).pop()

    def _pending(self) -> set[str]:
        keys: Any = self.store.redis.zrange(PENDING, 0, -1)
        return {text(key) for key in keys}

    def await_run(self, key: str) -> float:
        """Return when a worker is seen to hold a job."""
        until(lambda: key in self.store.leased(), WAIT_S)
        return time.monotonic()

    def await_film(self, key: str) -> None:
        """Wait until a job is known to be about a film."""
        until(lambda: (describe_job(self.store, key) or {}).get("progress"), WAIT_S)

    def press_cancel(self) -> None:
        """Cancel what waits of the project, at the operator's page."""
        asked = self._client.get(f"/?cancel={PROJECT}", headers={"Accept": BROWSER}).text
        self._client.post(f"/projects/{PROJECT}/cancel", data={"token": token_of(asked)})

    def command_cancel(self) -> None:
        """The same with `prelabel --cancel`."""
        with served(self._client.application) as port:
            environment = {**self._studio.environment, "PORT": port}
            done = self._command("prelabel", "--project", 7, "--cancel", **environment)
        assert "Dropped 1 waiting tasks of project 7" in done.out

    def leftovers(self) -> list[str]:
        """Return the temporary films that the worker holds open, and its children."""
        process = Path(f"/proc/{self._pid}")
        links = [os.readlink(one) for one in (process / "fd").iterdir() if one.is_symlink()]
        children = (one.read_text() for one in process.glob("task/*/children"))
        return [link for link in links if "/film-" in link] + " ".join(children).split()

    def check_end(self, begun: float, cancelled: float, after: str) -> None:
        """Check that the slot was soon free for a film, which ends as well, and nothing is left."""
        assert begun - cancelled < PROMISED_S
        until(lambda: after not in self._pending(), WAIT_S)
        until(lambda: not self.leftovers(), WAIT_S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local storage with a film and a picture that take long to decode."""
    found = tmp_path_factory.mktemp("storage")
    (found / "heavy.mp4").write_bytes(heavy_film(700))
    return found


HEAVY = "/data/local-files/?d=heavy.mp4"


@pytest.fixture
def rig(
    env: pytest.MonkeyPatch,
    start: Start,
    redis: Redis,
    folder: Path,
    hosts: dict[str, str],
    command: Commands,
    studio: Studio,
) -> Iterator[Rig]:
    own = {
        "GROUNDING_BULK_SLOTS": "1",
        "GROUNDING_INTERACTIVE_SLOTS": "1",
        "GROUNDING_INTERACTIVE_DEADLINE": str(DEADLINE_S),
        "GROUNDING_LOCAL_FILES_ROOT": str(folder),
        "GROUNDING_ALLOWED_ORIGINS": ",".join(hosts.values()),
    }
    for name, value in own.items():
        env.setenv(name, value)
    with subprocess.Popen([sys.executable, "-m", "tests.films.worker", "0"]) as process:
        try:
            until(lambda: any(one.is_ready for one in worker_statuses(redis)), WAIT_S)
            yield Rig(start(), redis, process.pid, command, studio)
        finally:
            process.kill()


@pytest.fixture
def hosts() -> Iterator[dict[str, str]]:
    """The addresses of hosts that hold whoever fetches from them."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(host(reply)) for name, reply in HOSTS.items()}
        yield {name: one.origin for name, one in found.items()}


def holder(what: str, hosts: dict[str, str]) -> str:
    """Return the address of a film that is held by this."""
    return hosts.get(what, HEAVY)


@pytest.mark.parametrize(
    ("what", "cancel"),
    [
        ("silent", Rig.press_cancel),
        ("dripping", Rig.command_cancel),
        ("decoding", Rig.press_cancel),
        ("silent, of a picture beside it", Rig.press_cancel),
    ],
)
def test_an_operator_s_cancel_ends_a_film(
    rig: Rig, hosts: dict[str, str], what: str, cancel: Callable[[Rig], None]
) -> None:
    beside = what == "silent, of a picture beside it"
    held = rig.retrieve_both(hosts["silent"]) if beside else rig.retrieve(holder(what, hosts))
    rig.await_run(held)
    rig.await_film(held)
    time.sleep(1)
    cancelled = time.monotonic()
    cancel(rig)
    after = rig.retrieve(NEXT)
    rig.check_end(rig.await_run(after), cancelled, after)
    assert rig.store.read_totals()[0]["failed:cancelled"] == 1


@pytest.mark.parametrize("what", ["silent", "decoding"])
def test_another_question_of_the_annotator_ends_a_film(
    rig: Rig, hosts: dict[str, str], what: str
) -> None:
    rig.await_run(rig.ask(holder(what, hosts)))
    time.sleep(1)
    cancelled = time.monotonic()
    after = rig.ask(NEXT)
    rig.check_end(rig.await_run(after), cancelled, after)
    assert rig.store.read_totals()[0]["failed:nobody_waits"] >= 1


@pytest.mark.parametrize(
    ("what", "config"), [("silent", ASKED_FILM), ("decoding", ASKED_FILM), ("dripping", TALKING)]
)
def test_the_annotator_s_deadline_ends_a_film_and_a_picture(
    rig: Rig, hosts: dict[str, str], what: str, config: str
) -> None:
    asked = time.monotonic()
    rig.await_run(rig.ask(holder(what, hosts), config=config))
    time.sleep(asked + DEADLINE_S - time.monotonic())
    over = time.monotonic()
    after = rig.ask(NEXT, user="c@d.co")
    rig.check_end(rig.await_run(after), over, after)
    assert rig.store.read_totals()[0]["failed:nobody_waits"] >= 1


def test_a_film_that_ends_while_its_frames_are_decoded_gives_back_their_memory(
    folder: Path,
) -> None:
    budget = DecodeBudget(2**30)
    held: list[float] = []

    def check() -> None:
        if not budget.is_idle:
            held.append(time.monotonic())
            if held[-1] - held[0] > 1:  # since its frames are being decoded
                raise Unwanted

    engine = watcher()
    fetcher = Fetcher(FetchRules(), folder=Folder(folder))
    films = FilmReader(fetcher, sampling=Sampling(max_frames=4), budget=HeldBudget(budget))
    worker = WorkerContext(engine, fetcher, 512, 10**7, films=films, check_wanted=check)
    with pytest.raises(Unwanted):
        predict(Task(1, {"image": HEAVY}, FILM, None, "v"), worker)
    assert budget.is_idle
    engine.close()
