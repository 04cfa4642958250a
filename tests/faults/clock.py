"""Gives a process a clock that a file sets: by so many seconds it is before the real one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import rq.utils


def set_by(file: Path) -> None:
    """From now on, let `time.time` and RQ's clock tell the time as the file has it."""
    real, rq_real = time.time, rq.utils.now

    def told() -> float:
        return real() + offset()

    def rq_told() -> datetime:
        return rq_real() + timedelta(seconds=offset())

    def offset() -> float:
        return float(file.read_text()) if file.exists() else 0.0

    time.time = told
    for name, module in list(sys.modules.items()):
        if name.startswith("rq") and getattr(module, "now", None) is rq_real:
            _replace(module, rq_told)


def _replace(module: object, now: Callable[[], datetime]) -> None:
    setattr(module, "now", now)  # noqa: B010
