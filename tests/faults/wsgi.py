"""The entry of the real web server, with a crash at a step or a wrong clock on request."""

from __future__ import annotations

import os
from pathlib import Path

from _wsgi import app
from tests.faults.clock import shift_by
from tests.faults.crash import arm

__all__ = ["app"]

if point := os.environ.get("CRASH"):
    arm(point, Path(os.environ["CALLS"] + ".crashed"))
if clock := os.environ.get("CLOCK"):
    shift_by(Path(clock))
