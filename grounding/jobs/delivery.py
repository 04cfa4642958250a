"""Delivery: pushes to Label Studio what became ready too late for its request. A thread a process.

A lock in Redis lets one process at a time do it, out of regard for Label Studio; should it lapse
during a long push, two push different debts. What `debts` says about doubt keeps every
prediction single, whoever dies and whatever Label Studio does with a push.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress

from redis import Redis
from redis.exceptions import LockError, RedisError

from grounding.errors import AnswerLost, ImportRefused, LabelStudioError
from grounding.jobs.debts import Debt, Debts, Paid
from grounding.jobs.ledger import PREFIX
from grounding.jobs.locks import shorten
from grounding.jobs.troubles import Troubles
from grounding.labelstudio.api import Api
from grounding.labelstudio.importing import Importer
from grounding.settings import Settings

log = logging.getLogger(__name__)

LOCK = PREFIX + "delivery"
LOCK_SECONDS = 5.0
PERIOD_SECONDS = 1.0
STOP_SECONDS = 0.5
BATCH = 100
"""Predictions in one push: Label Studio looks at every task of the project in each."""

SEE_LOG = "See the log of the web server and the workers"


def company(due: Sequence[Debt]) -> Sequence[Debt]:
    """Return those of `due` to push together: what is at the front, and what has fared alike.

    Each push that was lost halves the company, so that a prediction at which Label Studio fails
    whenever it comes is soon alone, and keeps no other from being stored.
    """
    alike = [debt for debt in due if debt.lost == due[0].lost]
    return alike[: max(1, BATCH >> due[0].lost)] if due else []


class Delivery:
    """Pushes what is due, every second, in a daemon thread until `stop`."""

    def __init__(self, redis: Redis, importer: Importer) -> None:
        self._redis = redis
        self._importer = importer
        self._debts = Debts(redis)
        self._troubles = Troubles(redis)
        self._lock = redis.lock(LOCK, timeout=LOCK_SECONDS, blocking=False, thread_local=False)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="delivery", daemon=True)

    @classmethod
    def of(cls, settings: Settings, redis: Redis) -> Delivery | None:
        """Return the delivery of this process; None where the settings name no way to deliver."""
        url, key = settings.label_studio_url, settings.label_studio_api_key
        return cls(redis, Importer(Api(url, key.get_secret_value()))) if url and key else None

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End. A push that takes longer than a moment is left, and its debts in doubt."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def deliver(self) -> int:
        """Push one batch of each project that has debts due; return how many were looked at."""
        self._troubles.attend()
        return sum(self._attempt(project) for project in self._debts.projects())

    def _attempt(self, project: str) -> int:
        if self._stopped.is_set() or self._troubles.waits(project):
            return 0
        try:
            batch = company(self._debts.due(project, BATCH))
            self._push(self._lacking(batch))
        except LabelStudioError as exc:
            self._troubles.note(project, exc)
            log.warning("project %s: delivery waits: %s (%s)", project, exc, exc.code)
            return 0
        except RedisError:
            raise
        except Exception:  # it must not keep the projects behind this one from their debts
            self._troubles.note(project, LabelStudioError("a fault of this program", hint=SEE_LOG))
            log.exception("project %s: delivery failed; it tries again", project)
            return 0
        if batch:
            self._troubles.clear(project)
        return len(batch)

    def _lacking(self, debts: Sequence[Debt]) -> list[Debt]:
        """Return the debts that Label Studio has not: those in doubt are looked for there."""
        return [debt for debt in debts if not (debt.doubted and self._is_there(debt))]

    def _is_there(self, debt: Debt) -> bool:
        self._keep_lock()
        try:
            there = self._importer.has(debt.task, str(debt.prediction["model_version"]))
        except AnswerLost:
            self._debts.doubt([debt], ended=True)
            raise
        if there:
            self._debts.pay([debt.key], debt.project, Paid.FOUND)
        return there

    def _push(self, debts: Sequence[Debt]) -> None:
        """Push `debts`, in ever smaller batches where Label Studio refuses one whole."""
        self._keep_lock()
        held = self._debts.hold(debts)
        try:
            taken = self._send(held)
        except AnswerLost as exc:
            self._debts.doubt(held, ended=exc.ended)
            raise
        except LabelStudioError:
            self._debts.put_back(held)
            raise
        if taken == len(held):
            self._pay(held, Paid.PUSHED)
        elif len(held) == 1:
            self._refused(held[0])
        elif taken == 0:
            self._push_halves(held)
        else:
            self._push_missing(held)

    def _push_halves(self, refused: Sequence[Debt]) -> None:
        middle = len(refused) // 2
        try:
            self._push(refused[:middle])
        except LabelStudioError:
            self._debts.put_back(refused[middle:])
            raise
        self._push(refused[middle:])

    def _push_missing(self, held: Sequence[Debt]) -> None:
        """Push those of which Label Studio has dropped some without saying which, one by one."""
        try:
            for debt in held:
                if not self._is_there(debt):
                    self._push([debt])
        except LabelStudioError:
            self._debts.doubt(held, ended=True)
            raise

    def _send(self, debts: Sequence[Debt]) -> int:
        if not debts:
            return 0
        number = int(debts[0].project.partition(".")[0])
        try:
            return self._importer.send(number, [{"task": d.task, **d.prediction} for d in debts])
        except ImportRefused as exc:
            log.info("project %s: of %d predictions: %s", debts[0].project, len(debts), exc.cause)
            return 0

    def _refused(self, debt: Debt) -> None:
        log.warning("project %s: Label Studio refuses task %d", debt.project, debt.task)
        self._pay([debt], Paid.REFUSED)

    def _pay(self, debts: Sequence[Debt], how: Paid) -> None:
        for debt in debts[:1]:
            self._debts.pay([one.key for one in debts], debt.project, how)

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
            except Exception:  # whatever this round met, without a next one debts would stay
                log.exception("delivery failed; it tries again")
                self._stopped.wait(PERIOD_SECONDS)

    def _round(self) -> int:
        if not self._lock.acquire():
            shorten(self._redis, LOCK, int(LOCK_SECONDS * 1000))
            return 0
        try:
            return self.deliver()
        finally:
            with suppress(LockError):
                self._lock.release()
