"""A job store, a loopback Label Studio, and an outbox with what that one lacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from grounding.jobs.store import JobStore, StoreLimits
from tests.faults.label_studio import Studio, label_studio
from tests.jobs.outbox_rig import OutboxRig


@pytest.fixture
def store(redis: Redis) -> JobStore:
    """A job store with a short lease and little room."""
    return JobStore(redis, StoreLimits(lease_ttl=2, max_pending=3))


@pytest.fixture
def studio() -> Iterator[Studio]:
    with label_studio() as running:
        yield running


@pytest.fixture
def rig(redis: Redis, studio: Studio) -> OutboxRig:
    return OutboxRig(redis, studio)
