"""The model process: loads the model once, then answers jobs until it is told to stop."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType

from grounding.errors import GroundingError
from grounding.jobs.connection import connect
from grounding.jobs.leases import Company, Leases
from grounding.jobs.ledger import Claim, Lane, Ledger, Terms
from grounding.jobs.presence import Presence
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.slots import Slots
from grounding.pipeline import Task, Tools, ground
from grounding.settings import Settings

log = logging.getLogger(__name__)

LoadTools = Callable[[Settings, Callable[..., None]], Tools]

EXIT_NO_MODEL = 3
EXIT_FORCED = 1


class Worker:
    """One model process. `load` brings the engine and may take minutes."""

    def __init__(self, settings: Settings, url: str, load: LoadTools) -> None:
        self._settings = settings
        self._load = load
        self._redis = connect(url)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._ledger = Ledger(self._redis, Terms.of(settings))
        self._leases = Leases(self._ledger, self.name)
        self._company = Company()
        self._presence = Presence(self._redis, self.name, settings.model_name)
        self._reconciler = Reconciler(self._redis, self._ledger)
        counts = {Lane.BULK: settings.bulk_slots, Lane.INTERACTIVE: settings.interactive_slots}
        self._slots = Slots(lambda: connect(url), self._work, counts)
        self._stopping = threading.Event()

    def run(self) -> int:
        """Work until SIGTERM, and return the exit status: 0, or 3 where the model cannot load.

        SIGTERM finishes the jobs in hand; a second one frees them for others and ends at once.
        """
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)
        self._presence.start()
        try:
            self._tools = self._load(self._settings, self._presence.tell)
        except GroundingError as exc:
            log.error("%s", exc)
            self._presence.tell(phase="failed", done=None, detail=str(exc))
            return EXIT_NO_MODEL
        self._serve()
        return 0

    def _serve(self) -> None:
        self._presence.tell(phase="ready", done=1.0, detail="")
        self._leases.start()
        self._reconciler.start()
        self._slots.start()
        log.info("ready: %s", self._settings.model_name)
        self._stopping.wait()
        self._slots.stop()
        self._slots.join()
        self._reconciler.stop()
        self._leases.stop()
        self._presence.stop()
        self._tools.engine.close()

    def _work(self, key: str) -> None:
        claim = self._ledger.claim(key, self.name)
        if claim is None:
            return  # finished, or in another's hands: a key may be queued twice
        with self._leases.hold(key), self._company.enter(alone=claim.alone):
            self._answer(claim)

    def _answer(self, claim: Claim) -> None:
        task = Task(**claim.payload)
        try:
            grounded = ground(task, self._tools)
        except GroundingError as exc:
            log.warning("task %s: %s (%s)", task.id, exc, exc.code)
            self._ledger.bury(claim.key, exc)
        except Exception as exc:  # the worker's edge: a fault of ours costs one task, no more
            log.exception("task %s: a fault of this program", task.id)
            fault = GroundingError(f"a fault of this program ({type(exc).__name__})", code="fault")
            self._ledger.bury(claim.key, fault)
        else:
            self._report(task, grounded.dropped)
            self._ledger.finish(claim.key, grounded.prediction, grounded.verdict)

    def _report(self, task: Task, dropped: Mapping[str, int]) -> None:
        if dropped:
            counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
            log.info("task %s: left out %s", task.id, counts)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._stopping.is_set():
            self._leases.release()
            os._exit(EXIT_FORCED)
        self._stopping.set()
        if not hasattr(self, "_tools"):
            sys.exit(0)  # still loading: nothing is in hand
