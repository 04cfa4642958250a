"""Fixtures of the tests of Label Studio's API client."""

from __future__ import annotations

import pytest

from grounding.retry import Backoff


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failed exchange of tokens be tried again soon; `Retry-After` holds as ever."""
    monkeypatch.setattr("grounding.labelstudio.client.api.BACKOFF", Backoff(0.01, 0.1))
