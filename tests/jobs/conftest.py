"""A job store for tests of the queue."""

from __future__ import annotations

import pytest
from redis import Redis

from grounding.jobs.store import JobStore, StoreLimits


@pytest.fixture
def store(redis: Redis) -> JobStore:
    """A job store with a short lease and little room."""
    return JobStore(redis, StoreLimits(lease_ttl=2, max_pending=3))
