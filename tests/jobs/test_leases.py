"""Leases outlive what befalls their renewal."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from redis import Redis

from grounding.jobs.slots import Leases
from grounding.jobs.store import Job, JobStore, QueueName, StoreLimits


def test_a_fault_of_one_renewal_loses_no_lease(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(redis, StoreLimits(lease_ttl=1))
    store.accept([Job("a", QueueName.BULK, "1", {"id": 1})])
    store.claim("a", "me")
    renew, rounds = store.renew, []

    def faulty(keys: Iterable[str], owner: str) -> None:
        rounds.append(owner)
        if len(rounds) == 1:
            raise ZeroDivisionError
        renew(keys, owner)

    monkeypatch.setattr(store, "renew", faulty)
    leases = Leases(store, "me")
    with leases.hold("a"):
        leases.start()
        time.sleep(1.5)
        assert store.leased() == {"a": True}
    leases.stop()
    assert len(rounds) > 1
