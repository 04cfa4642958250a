"""A loopback Label Studio, and an outbox with what that one lacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.faults.label_studio import Studio, label_studio
from tests.jobs.outbox.rig import OutboxRig


@pytest.fixture
def studio() -> Iterator[Studio]:
    with label_studio() as running:
        yield running


@pytest.fixture
def rig(redis: Redis, studio: Studio) -> OutboxRig:
    return OutboxRig(redis, studio)
