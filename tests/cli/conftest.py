"""Fixtures of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.running import Commands
from tests.cli.studio import Studio, label_studio


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Run commands in this process."""
    return Commands(monkeypatch, capsys)


@pytest.fixture
def studio() -> Iterator[Studio]:
    """A Label Studio with one project."""
    with label_studio() as one:
        yield one
