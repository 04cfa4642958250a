"""A deployment with a Label Studio to deliver to, for tests of delivery."""

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
ENTRIES = f"{UNDELIVERED}{PROJECT}.1"


def deployed(folder: Path, studio: Studio, **settings: Any) -> AbstractContextManager[Rig]:
    """Return a deployment that can deliver to `studio`."""
    address = {"label_studio_url": studio.url, "label_studio_api_key": TOKEN}
    return rig(folder, **address | settings)


def retrieve(studio: Studio, web: Web, tasks: Sequence[Mapping[str, Any]]) -> int:
    """Retrieve predictions as one click does; save those that came at once, return how many."""
    studio.add(PROJECT, (task["id"] for task in tasks))
    entries = web.predict(tasks)
    studio.save_answers(tasks, entries)
    return sum(map(bool, entries))


def deliveries(deployment: Rig) -> dict[str, int]:
    """Return the number of deliveries by outcome."""
    counted = deployment.store.read_totals()[0].items()
    return {k.removeprefix(DELIVERIES): n for k, n in counted if k.startswith(DELIVERIES)}


def expire_holds(deployment: Rig) -> None:
    """Expire the holds of processes that may be dead: what they held becomes due."""
    for key in deployment.redis.zrangebyscore(ENTRIES, "-inf", "(+inf"):
        deployment.redis.zadd(ENTRIES, {key: int(time.time() * 1000)}, xx=True)
