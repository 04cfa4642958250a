"""Delivery: pushes to Label Studio the predictions that were too late for their request.

One thread per process, and a lock in Redis lets one at a time push, to spare Label Studio. Where
the lock expires during a long push, two processes push different entries of the outbox. The rules
of `outbox` keep every prediction single, whoever dies and whatever Label Studio does with a push.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress

from redis import Redis
from redis.exceptions import LockError, RedisError

from grounding.errors import AnswerLost, ImportRefused, LabelStudioError
from grounding.jobs.connection import limit_lock
from grounding.jobs.keys import PREFIX, json_object
from grounding.jobs.outbox.outbox import DeliveryResult, Outbox, OutboxEntry
from grounding.labelstudio.client.api import Api, Importer
from grounding.retry import Backoff
from grounding.settings import Settings

log = logging.getLogger(__name__)

LOCK = PREFIX + "delivery"
LOCK_SECONDS = 5.0
PERIOD_SECONDS = 1.0
STOP_SECONDS = 0.5
BATCH = 100
"""Predictions in one push: Label Studio looks at every task of the project in each."""

SEE_LOG = "See the log of the web server and the workers"

BACKOFF = PREFIX + "backoff:"
"""Before a project: why its delivery failed, and how often in a row."""
PAUSE = PREFIX + "pause:"
"""Before a project: exists until its next attempt. Redis counts the time, so no clocks differ."""
KEPT_SECONDS = 86_400
"""How long the reason of a project without further attempts is kept."""
DELIVERER = PREFIX + "deliverer"
DELIVERER_SECONDS = 120
"""How long a process that can deliver counts as running: longer than a push takes."""
LONGEST_SECONDS = 15.0
DELAYS = Backoff(first=1.0, longest=LONGEST_SECONDS)
NOBODY = (
    "nobody delivers. Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, or retrieve predictions again"
)


class DeliveryBackoff:
    """The waits of all projects; safe to share between threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def announce(self) -> None:
        """Note that a process runs that can deliver."""
        self._redis.set(DELIVERER, "1", ex=DELIVERER_SECONDS)

    def record_failure(self, project: str, error: LabelStudioError) -> None:
        """Keep why a project's delivery failed; each failure in a row doubles the wait."""
        before = json_object(self._redis.get(BACKOFF + project)).get("failures")
        failures = (before if isinstance(before, int) and before > 0 else 0) + 1
        facts = {"reason": str(error), "failures": failures}
        pipe = self._redis.pipeline()
        pipe.set(BACKOFF + project, json.dumps(facts), ex=KEPT_SECONDS)
        pipe.set(PAUSE + project, 1, px=int(DELAYS.delay(failures - 1) * 1000))
        pipe.execute()

    def clear(self, project: str) -> None:
        """Forget a project's failures, since delivery has worked."""
        self._redis.delete(BACKOFF + project, PAUSE + project)

    def is_waiting(self, project: str) -> bool:
        """Say whether the next attempt is not due yet."""
        limit_lock(self._redis, PAUSE + project, int(LONGEST_SECONDS * 1000))
        return bool(self._redis.exists(PAUSE + project))

    def reasons(self, projects: Sequence[str]) -> dict[str, str]:
        """Return why the predictions of `projects` cannot be delivered now; empty if they can."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.exists(DELIVERER)
        for project in projects:
            pipe.get(BACKOFF + project)
        runs, *kept = pipe.execute()
        reasons = [str(json_object(text).get("reason", "")) if runs else NOBODY for text in kept]
        return dict(zip(projects, reasons, strict=True))


def next_batch(due: Sequence[OutboxEntry]) -> Sequence[OutboxEntry]:
    """Return those of `due` to push together: the first, and others that were lost as often.

    Each lost push halves the batch, so that a prediction that always makes Label Studio fail is
    soon alone, and keeps no other from being stored.
    """
    alike = [entry for entry in due if entry.lost == due[0].lost]
    return alike[: max(1, BATCH >> due[0].lost)] if due else []


class Delivery:
    """Pushes what is due, every second, in a daemon thread until `stop`."""

    def __init__(self, redis: Redis, importer: Importer) -> None:
        self._redis = redis
        self._importer = importer
        self._outbox = Outbox(redis)
        self._backoff = DeliveryBackoff(redis)
        self._lock = redis.lock(LOCK, timeout=LOCK_SECONDS, blocking=False, thread_local=False)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="delivery", daemon=True)

    @classmethod
    def of(cls, settings: Settings, redis: Redis) -> Delivery | None:
        """Return the delivery of this process; None where the settings name no way to deliver."""
        url, token = settings.label_studio_url, settings.label_studio_token
        return cls(redis, Importer(Api(url, token))) if url and token else None

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End. A push that takes longer than half a second is left, and its entries unconfirmed."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def deliver(self) -> int:
        """Push one batch of each project that has entries due; return how many were looked at."""
        self._backoff.announce()
        return sum(self._attempt(project) for project in self._outbox.projects())

    def _attempt(self, project: str) -> int:
        if self._stopped.is_set() or self._backoff.is_waiting(project):
            return 0
        try:
            batch = next_batch(self._outbox.due(project, BATCH))
            self._push(self._lacking(batch))
        except LabelStudioError as exc:
            self._backoff.record_failure(project, exc)
            log.warning("project %s: delivery waits: %s (%s)", project, exc, exc.code)
            return 0
        except RedisError:
            raise
        except Exception:  # whatever it met, the projects behind this one are still served
            self._backoff.record_failure(
                project, LabelStudioError("a fault of this program", hint=SEE_LOG)
            )
            log.exception("project %s: delivery failed; it tries again", project)
            return 0
        if batch:
            self._backoff.clear(project)
        return len(batch)

    def _lacking(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Return the entries that Label Studio lacks: it is asked about unconfirmed ones."""
        return [entry for entry in entries if not (entry.unconfirmed and self._is_there(entry))]

    def _is_there(self, entry: OutboxEntry) -> bool:
        self._keep_lock()
        try:
            there = self._importer.has(entry.task, str(entry.prediction["model_version"]))
        except AnswerLost:
            self._outbox.mark_unconfirmed([entry], ended=True)
            raise
        if there:
            self._outbox.mark_delivered([entry.key], entry.project, DeliveryResult.FOUND)
        return there

    def _push(self, entries: Sequence[OutboxEntry]) -> None:
        """Push `entries`, in ever smaller batches where Label Studio refuses one whole."""
        self._keep_lock()
        held = self._outbox.hold(entries)
        try:
            stored = self._send(held)
        except AnswerLost as exc:
            self._outbox.mark_unconfirmed(held, ended=exc.ended)
            raise
        except LabelStudioError:
            self._outbox.put_back(held)
            raise
        if stored == len(held):
            self._drop(held, DeliveryResult.PUSHED)
        elif len(held) == 1:
            self._drop_refused(held[0])
        elif stored == 0:
            self._push_halves(held)
        else:
            self._push_missing(held)

    def _push_halves(self, refused: Sequence[OutboxEntry]) -> None:
        middle = len(refused) // 2
        try:
            self._push(refused[:middle])
        except LabelStudioError:
            self._outbox.put_back(refused[middle:])
            raise
        self._push(refused[middle:])

    def _push_missing(self, held: Sequence[OutboxEntry]) -> None:
        """Push one by one what Label Studio has dropped in part, without saying which."""
        try:
            for entry in held:
                if not self._is_there(entry):
                    self._push([entry])
        except LabelStudioError:
            self._outbox.mark_unconfirmed(held, ended=True)
            raise

    def _send(self, entries: Sequence[OutboxEntry]) -> int:
        """Return how many Label Studio stored: none where it refuses the batch."""
        if not entries:
            return 0
        number = int(entries[0].project.partition(".")[0])
        try:
            return self._importer.send(
                number, [{"task": one.task, **one.prediction} for one in entries]
            )
        except ImportRefused as exc:
            log.info(
                "project %s: of %d predictions: %s", entries[0].project, len(entries), exc.cause
            )
            return 0

    def _drop_refused(self, entry: OutboxEntry) -> None:
        log.warning("project %s: Label Studio refuses task %d", entry.project, entry.task)
        self._drop([entry], DeliveryResult.REFUSED)

    def _drop(self, entries: Sequence[OutboxEntry], result: DeliveryResult) -> None:
        if entries:
            keys = [entry.key for entry in entries]
            self._outbox.mark_delivered(keys, entries[0].project, result)

    def _keep_lock(self) -> None:
        with suppress(LockError):
            self._lock.reacquire()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            try:
                if not self._round():
                    self._stopped.wait(PERIOD_SECONDS)
            except RedisError as exc:  # Redis may be away for a while; the next round finds out
                log.warning("delivery waits for Redis: %s", exc)
                self._stopped.wait(PERIOD_SECONDS)
            except Exception:  # without a next round nothing would be delivered
                log.exception("delivery failed; it tries again")
                self._stopped.wait(PERIOD_SECONDS)

    def _round(self) -> int:
        if not self._lock.acquire():
            limit_lock(self._redis, LOCK, int(LOCK_SECONDS * 1000))
            return 0
        try:
            return self.deliver()
        finally:
            with suppress(LockError):
                self._lock.release()
