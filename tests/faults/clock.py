"""Shifts the clock of a process by the number of seconds in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import rq.utils


def shift_by(file: Path) -> None:
    """Add the seconds in `file` to `time.time` and RQ's clock from now on."""
    real, rq_real = time.time, rq.utils.now

    def shifted() -> float:
        return real() + offset()

    def rq_shifted() -> datetime:
        return rq_real() + timedelta(seconds=offset())

    def offset() -> float:
        return float(file.read_text()) if file.exists() else 0.0

    time.time = shifted
    for name, module in list(sys.modules.items()):
        if name.startswith("rq") and getattr(module, "now", None) is rq_real:
            _replace(module, rq_shifted)


def _replace(module: object, now: Callable[[], datetime]) -> None:
    setattr(module, "now", now)  # noqa: B010
