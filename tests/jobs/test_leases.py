"""Leases outlive what befalls their renewal."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from redis import Redis

from grounding.jobs.leases import Leases
from grounding.jobs.ledger import Job, Lane, Ledger, Terms


def test_a_fault_of_one_renewal_loses_no_lease(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(redis, Terms(lease_ttl=1))
    ledger.accept([Job("a", Lane.BULK, "1", {"id": 1})])
    ledger.claim("a", "me")
    renew, rounds = ledger.renew, []

    def faulty(keys: Iterable[str], owner: str) -> None:
        rounds.append(owner)
        if len(rounds) == 1:
            raise ZeroDivisionError
        renew(keys, owner)

    monkeypatch.setattr(ledger, "renew", faulty)
    leases = Leases(ledger, "me")
    with leases.hold("a"):
        leases.start()
        time.sleep(1.5)
        assert ledger.leased() == {"a": True}
    leases.stop()
    assert len(rounds) > 1
