"""What tests of delivery share: a deployment that has a Label Studio, and one click in that."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from grounding.jobs.store import DELIVERIES, UNDELIVERED
from tests.faults.label_studio import TOKEN, Studio
from tests.faults.rig import Rig, Web, rig

PROJECT = 1
UNDELIVERED_HERE = f"{UNDELIVERED}{PROJECT}.1"


def deployed(folder: Path, studio: Studio, **settings: Any) -> AbstractContextManager[Rig]:
    """Return a deployment that can deliver to `studio`."""
    way = {"label_studio_url": studio.url, "label_studio_api_key": TOKEN}
    return rig(folder, **way | settings)


def retrieve(studio: Studio, web: Web, tasks: Sequence[Mapping[str, Any]]) -> int:
    """Click once on Retrieve predictions; return how many came at once, and are saved."""
    studio.add(PROJECT, (task["id"] for task in tasks))
    entries = web.predict(tasks)
    studio.save_answers(tasks, entries)
    return sum(map(bool, entries))


def paid(deployment: Rig) -> dict[str, int]:
    """Return how many outbox entries came to each end."""
    counted = deployment.store.counters().items()
    return {k.removeprefix(DELIVERIES): n for k, n in counted if k.startswith(DELIVERIES)}


def end_holds(deployment: Rig) -> None:
    """Let the time pass that an entry is held for a process that may be dead."""
    for key in deployment.redis.zrangebyscore(UNDELIVERED_HERE, "-inf", "(+inf"):
        deployment.redis.zadd(UNDELIVERED_HERE, {key: int(time.time() * 1000)}, xx=True)
