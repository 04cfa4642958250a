"""How a part that ends is started again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from grounding.cli import supervisor
from grounding.cli.supervisor import Part
from grounding.errors import GroundingError, SettingError


def starts(script: str, log: Path, *, count: int, seconds: float) -> list[float]:
    """Keep `script` running until it has `count` starts; return their times in seconds."""
    part = Part("part", ["sh", "-c", f'date +%s.%N >> "{log}"; {script}'], dict(os.environ))
    limit = time.monotonic() + seconds
    found: list[str] = []
    while len(found) < count:
        assert time.monotonic() < limit, f"{len(found)} starts"
        part.keep_running()
        time.sleep(0.01)
        found = log.read_text().split() if log.exists() else []
    part.join(10)
    return [float(moment) for moment in found]


def test_a_part_that_cannot_run_is_started_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "MAX_RESTART_SECONDS", 60)
    first, second, third = starts("exit 3", tmp_path / "log", count=3, seconds=30)
    assert second - first >= 0.15
    assert third - second >= 0.35


def test_a_part_that_never_runs_is_not_started_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only people can mend what no new start mends."""
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 0.001)
    monkeypatch.setattr(supervisor, "MAX_RESTART_SECONDS", 5)
    with pytest.raises(GroundingError, match="the part has ended 8 times as soon as it began"):
        starts("exit 3", tmp_path / "log", count=99, seconds=60)


def test_a_part_that_its_settings_keep_from_running_is_not_started_again(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="the part cannot run under these settings"):
        starts("exit 2", tmp_path / "log", count=2, seconds=20)
    assert len((tmp_path / "log").read_text().split()) == 1


def test_a_part_that_was_killed_is_started_again_soon_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 0.1)
    assert starts("kill -9 $$", tmp_path / "log", count=9, seconds=20), "51 s with longer pauses"
